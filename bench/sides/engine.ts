// The engine without the core above it: what a bus takes more is what the core costs.
import { extname } from 'node:path'
import type { Delivery } from '../../src/engines/engine.ts'
import type { Figures } from '../figures.ts'
import { warmOf } from './sending.ts'
import { counted, figuresOf } from './watch.ts'
import type { Work } from './work.ts'

type Registry = typeof import('../../src/engines/registry.ts')

// As many as the core has in hand with 64 at once and an empty handler, and as few calls into the engine.
const inHand = 576
const fewest = inHand / 4
const bytes = 2 ** 26

/** Acknowledges what is there, all of a turn of the event loop in one batch. */
export async function subscribe({ library, url, topic, group, count }: Work): Promise<Figures> {
  const { openEngine } = (await import(new URL(`./engines/registry${extname(library)}`, library).href)) as Registry
  const engine = await openEngine(url, {})
  const warm = warmOf(count)
  const { took, all } = counted(count, warm)
  const answered = Promise.withResolvers<void>()
  let settled = 0
  let owed = 0
  let waiting: Delivery[] = []
  const settle = async (): Promise<void> => {
    const batch = waiting
    waiting = []
    const results = await subscription.settle(batch.map((delivery) => ({ kind: 'ack', delivery })))
    if (results.includes('lost')) answered.reject(new Error('a delivery was lost'))
    settled += batch.length
    if (settled === count) answered.resolve()
  }
  const subscription = await engine.subscribe(
    {
      group,
      sources: [{ storage: topic, filter: undefined, lanes: topic, from: 'earliest' }],
      order: 'none',
      orderScope: 'group',
      leaseMs: 30_000,
      member: 'bench',
    },
    {
      deliver: (batch) => {
        if (waiting.length === 0) setImmediate(() => settle().catch(answered.reject))
        for (const delivery of batch) {
          waiting.push(delivery)
          took()
        }
        owed += batch.length
        if (owed < fewest) return
        subscription.grant(owed, owed * 128)
        owed = 0
      },
      lost: (_, reason) => answered.reject(new Error(reason)),
      assigned: () => {},
      leaving: () => {},
      revoked: () => {},
      warned: () => {},
    },
  )
  subscription.grant(inHand, bytes)
  const phase = await all
  await answered.promise
  await subscription.close()
  await engine.close()
  return figuresOf(count - warm, phase)
}
