import { openEmbedded } from '../../src/engines/embedded/engine.ts'
import type { Delivery, EngineSubscription, SubscriptionSpec } from '../../src/engines/engine.ts'
import { newId } from '../../src/message/id.ts'

export interface Orders {
  readonly dir: string
  readonly publish?: {
    readonly storage: string
    readonly count: number
    readonly batch: number
    readonly keys: number
    readonly tag: string
  }
  readonly consume?: SubscriptionSpec & { readonly credit: number; readonly workMs: number; readonly hold?: boolean }
  readonly answer?: { readonly pattern: string; readonly group: string }
}

export type Said =
  | { readonly ready: true }
  | { readonly confirmed: string[] }
  | { readonly got: { id: string; key: string | undefined; position: string; at: number; until: number; redelivered: boolean }[] }
  | { readonly done: true }

const orders = JSON.parse(process.argv[2]!) as Orders
const say = (said: Said): void => void process.send!(said)
const engine = await openEmbedded({ dir: orders.dir })
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

if (orders.consume) {
  const { credit, workMs, hold, ...spec } = orders.consume
  let subscription: EngineSubscription
  const work = async (batch: readonly Delivery[]): Promise<void> => {
    // One message after the other, as the core's lanes would for a key.
    for (const delivery of batch) {
      const at = performance.timeOrigin + performance.now()
      if (workMs > 0) await sleep(workMs)
      const until = performance.timeOrigin + performance.now()
      if (!hold) await subscription.settle([{ kind: 'ack', delivery }])
      say({ got: [{ id: delivery.id, key: delivery.key, position: delivery.position, at, until, redelivered: delivery.redelivered }] })
      if (!hold) subscription.grant(1, delivery.body.byteLength)
    }
  }
  let last = Promise.resolve()
  subscription = await engine.subscribe(spec, {
    deliver: (batch) => {
      last = last.then(() => work(batch))
    },
    lost: () => {},
    assigned: () => {},
    leaving: () => {},
    revoked: () => {},
    warned: () => {},
  })
  subscription.grant(credit, 1e8)
}
if (orders.answer)
  await engine.requests!.respond(orders.answer.pattern, orders.answer.group, async (question) => ({
    headers: undefined,
    body: Buffer.from(`${process.pid}:${question.name}`),
  }))
say({ ready: true })
if (orders.publish) {
  const { storage, count, batch, keys, tag } = orders.publish
  for (let i = 0; i < count; ) {
    const messages = []
    for (let j = 0; j < batch && i < count; j++, i++)
      messages.push({
        storage,
        name: storage,
        id: newId(),
        key: keys > 0 ? `k${i % keys}` : undefined,
        headers: undefined,
        body: Buffer.from(`${tag}${i}`),
        at: Date.now(),
        deliverAt: undefined,
      })
    const outcomes = await engine.publish(messages)
    say({ confirmed: messages.filter((_, n) => outcomes[n]!.ok).map(({ id }) => id) })
  }
  say({ done: true })
}
process.on('message', async () => {
  await engine.close()
  process.disconnect()
})
