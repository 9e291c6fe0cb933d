import type { Delivery, DeliverySink, Engine, EngineSubscription } from '../../engines/engine.ts'
import type { BrokenEngine } from './broken.ts'
import { between, override } from './wrapping.ts'

const gatherMs = 5

export const brokenDelivering: readonly BrokenEngine[] = [
  {
    name: 'acks-at-delivery',
    rule: 'R3',
    breaks: 'acknowledges what it delivers, so that a crash of the handler loses it',
    wrap: (engine) =>
      override(
        engine,
        between(engine, (_spec, sink) => {
          let subscription: EngineSubscription | undefined
          return {
            sink: {
              deliver(batch) {
                subscription?.settle(batch.map((delivery) => ({ kind: 'ack', delivery }))).catch(() => {})
                sink.deliver(batch)
              },
            },
            subscribed(inner) {
              subscription = inner
              return { settle: async (batch) => batch.map(() => 'confirmed') }
            },
          }
        }),
      ),
  },
  {
    name: 'reorders',
    rule: 'R6',
    breaks: `delivers what came within ${gatherMs} ms in reverse`,
    wrap: (engine) =>
      override(
        engine,
        between(engine, (_spec, sink) => {
          let gathered: Delivery[] = []
          const flush = (): void => {
            const batch = gathered.reverse()
            gathered = []
            if (batch.length > 0) sink.deliver(batch)
          }
          return {
            sink: {
              deliver(batch) {
                if (gathered.length === 0) setTimeout(flush, gatherMs)
                gathered.push(...batch)
              },
            },
            subscribed: (subscription) => ({
              async stop() {
                flush()
                await subscription.stop()
                flush()
              },
            }),
          }
        }),
      ),
  },
  {
    name: 'two-members-at-once',
    rule: 'R6',
    breaks: 'delivers a message to a second member, or twice to the only one, while the first still has it',
    wrap: twice,
  },
  {
    name: 'drops-when-busy',
    rule: 'R7',
    breaks: 'once half of the credit is used up it drops what comes, acknowledged',
    wrap: (engine) =>
      override(
        engine,
        between(engine, (_spec, sink) => {
          let subscription: EngineSubscription | undefined
          let left = 0
          let most = 0
          return {
            sink: {
              deliver(batch) {
                const kept: Delivery[] = []
                for (const delivery of batch) {
                  if (left > most / 2) {
                    left--
                    kept.push(delivery)
                    continue
                  }
                  subscription?.settle([{ kind: 'ack', delivery }]).catch(() => {})
                  subscription?.grant(1, delivery.body.byteLength)
                }
                if (kept.length > 0) sink.deliver(kept)
              },
            },
            subscribed(inner) {
              subscription = inner
              return {
                grant(messages, bytes) {
                  left += messages
                  most = Math.max(most, left)
                  inner.grant(messages, bytes)
                },
              }
            },
          }
        }),
      ),
  },
]

interface Twin {
  readonly sink: DeliverySink
  /** Credit kept from the engine, for copies: to go beyond it would be another defect. */
  spare: number
}

// Each member knows the others of its group, as if one broker had been careless.
const groups = new Map<string, Set<Twin>>()

function twice(engine: Engine): Engine {
  return override(
    engine,
    between(engine, (spec, sink) => {
      const group = [spec.group, ...spec.sources.map(({ storage }) => storage)].join(' ')
      const twins = groups.get(group) ?? new Set<Twin>()
      groups.set(group, twins)
      const self: Twin = { sink, spare: 0 }
      twins.add(self)
      const mine = new Set<Delivery>()
      return {
        sink: {
          deliver(batch) {
            for (const delivery of batch) mine.add(delivery)
            sink.deliver(batch)
            const other = [...twins].find((twin) => twin !== self && twin.spare > 0) ?? self
            const copies = batch.slice(0, other.spare).map((delivery) => ({ ...delivery }))
            other.spare -= copies.length
            if (copies.length > 0) other.sink.deliver(copies)
          },
        },
        subscribed: (subscription) => ({
          grant(messages, bytes) {
            const kept = messages > 1 && self.spare === 0 ? 1 : 0
            self.spare += kept
            subscription.grant(messages - kept, bytes)
          },
          async settle(batch) {
            const results = await subscription.settle(batch.filter(({ delivery }) => mine.has(delivery)))
            let i = 0
            return batch.map(({ delivery }) => (mine.has(delivery) ? results[i++]! : 'confirmed'))
          },
          close() {
            twins.delete(self)
            if (twins.size === 0) groups.delete(group)
            return subscription.close()
          },
        }),
      }
    }),
  )
}
