import { BusError } from '../../errors.ts'
import type { ReadFrom } from '../engine.ts'
import type { Cluster, Queue } from './cluster.ts'
import { request } from './protocol.ts'
import { pull } from './pulling.ts'

export type Wanted = 'start' | 'end' | { readonly timeMs: number }

/** One for each queue. A time past the last message is the end. */
export async function findOffsets(cluster: Cluster, topic: string, queues: readonly Queue[], wanted: Wanted): Promise<number[]> {
  return Promise.all(
    queues.map(async ({ broker, id }) => {
      const what = `topic '${topic}'`
      const place = { topic, queueId: String(id) }
      const ask = async (code: number, fields: Record<string, string>): Promise<number> => {
        const frame = await cluster.ask(broker, code, fields, what)
        const offset = Number(frame.fields['offset'])
        if (!Number.isSafeInteger(offset)) throw new BusError('engine_unavailable', `${what}: ${broker.name} names no offset`)
        return Math.max(0, offset)
      }
      if (wanted === 'start') return ask(request.minOffset, place)
      await cluster.dispatch.caughtUp(broker)
      if (wanted === 'end') return ask(request.maxOffset, place)
      const timestamp = String(Math.max(0, Math.floor(wanted.timeMs)))
      const found = await ask(request.offsetAt, { ...place, timestamp, boundaryType: 'LOWER' })
      // Past the last one that is stored the broker names that one.
      const at = (await pull(cluster, topic, { broker, id }, found)).messages[0]
      return at === undefined || at.offset !== found || at.storedMs >= wanted.timeMs ? found : found + 1
    }),
  )
}

/** `broker/queue:offset`, as a message's position has it. */
export function queueKey({ broker, id }: Queue): string {
  return `${broker.name}/${id}`
}

const position = /^(?:(.+\/\d+):(\d+))?(?:@(.*))?$/

/**
 * Positions. A message knows its own place only (`broker-a/3:17`); a page of all queues also says where each of them stands
 * (`…@broker-a/0=5,broker-a/1=0`); the place between two pages is just that. `past`: 1 = after the message that a position
 * names, 0 = at it.
 */
export async function placesOf(
  cluster: Cluster,
  topic: string,
  queues: readonly Queue[],
  from: ReadFrom,
  past: 0 | 1,
  starts: readonly number[],
): Promise<number[]> {
  if (from === 'start') return [...starts]
  if (from === 'end' || typeof from === 'object')
    return (await findOffsets(cluster, topic, queues, from)).map((place, i) => Math.max(place, starts[i]!))
  const [matched, key, offset, others] = position.exec(from) ?? []
  if (!matched)
    throw new BusError(
      'invalid_argument',
      `position ${JSON.stringify(from)} is none of RocketMQ's; use one that it gave, 'start', 'end' or a time`,
    )
  const given = new Map(
    (others ?? '').split(',').map((entry) => [entry.slice(0, entry.lastIndexOf('=')), Number(entry.slice(entry.lastIndexOf('=') + 1))]),
  )
  const ends = await findOffsets(cluster, topic, queues, 'end')
  return queues.map((queue, i) => {
    const name = queueKey(queue)
    const place = name === key ? Number(offset) + past : (given.get(name) ?? starts[i]!)
    return Math.min(ends[i]!, Math.max(starts[i]!, Number.isSafeInteger(place) ? place : starts[i]!))
  })
}
