import type { DeliverySink, Engine, EngineSubscription, SubscriptionSpec } from '../../engines/engine.ts'

const inner = Symbol('the engine inside')

/** The object with some members replaced; the rest is the object's own, private fields included. */
export function override<T extends object>(target: T, changes: Partial<T>): T {
  // Not a proxy of the target itself: a frozen one would have to show its own members.
  return new Proxy({} as T, {
    has: (_, property) => property in target || property in changes,
    get(_, property) {
      if (property === inner) return target
      if (Object.hasOwn(changes, property)) return Reflect.get(changes, property)
      const value: unknown = Reflect.get(target, property, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** The engine under every {@link override}: a broker knows its own only. */
export function innermost(engine: Engine): Engine {
  for (let found = engine; ; ) {
    const next = Reflect.get(found, inner) as Engine | undefined
    if (!next) return found
    found = next
  }
}

/** What stands between the core and one subscription of the engine. */
export interface Between {
  readonly spec?: SubscriptionSpec
  readonly sink?: Partial<DeliverySink>
  /** Called once the engine has subscribed; before that nothing is delivered, for nothing was granted. */
  readonly subscribed?: (engine: EngineSubscription) => Partial<EngineSubscription>
}

/** Puts something between on each subscribe. */
export function between(engine: Engine, make: (spec: SubscriptionSpec, sink: DeliverySink) => Between | Promise<Between>): Partial<Engine> {
  return {
    async subscribe(spec, sink) {
      const made = await make(spec, sink)
      const subscription = await engine.subscribe(made.spec ?? spec, made.sink ? override(sink, made.sink) : sink)
      return made.subscribed ? override(subscription, made.subscribed(subscription)) : subscription
    },
  }
}
