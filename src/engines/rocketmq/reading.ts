import type { Page, ReadFrom, Stored } from '../engine.ts'
import type { Cluster, Route } from './cluster.ts'
import { storedOf, type WireMessage } from './message.ts'
import { findOffsets, placesOf, queueKey } from './offsets.ts'
import { pull } from './pulling.ts'

/** Up to `limit` messages after the place, merged by the time they were stored. */
export async function readPage(
  cluster: Cluster,
  route: Route,
  starts: readonly number[],
  storage: string,
  after: ReadFrom,
  limit: number,
): Promise<Page> {
  const { topic, readable: queues } = route
  const cursor = await placesOf(cluster, topic, queues, after, 1, starts)
  const ends = await findOffsets(cluster, topic, queues, 'end')
  const heads = cursor.map((): WireMessage[] => [])
  const fetched = [...cursor]
  const messages: Stored[] = []
  const where = (): string => queues.map((queue, i) => `${queueKey(queue)}=${cursor[i]}`).join(',')
  while (messages.length < limit) {
    const hungry = queues.map((_, i) => i).filter((i) => heads[i]!.length === 0 && fetched[i]! < ends[i]!)
    await Promise.all(
      hungry.map(async (i) => {
        const found = await pull(cluster, topic, queues[i]!, fetched[i]!)
        heads[i] = found.messages.filter(({ offset }) => offset < ends[i]!)
        // Nothing of it is left up to its end.
        if (found.next <= fetched[i]! && heads[i]!.length === 0) found.next = ends[i]!
        fetched[i] = found.next
        if (heads[i]!.length === 0) cursor[i] = found.next
      }),
    )
    if (queues.some((_, i) => heads[i]!.length === 0 && fetched[i]! < ends[i]!)) continue
    let oldest = -1
    for (const [i, [head]] of heads.entries()) if (head && (oldest < 0 || head.storedMs < heads[oldest]![0]!.storedMs)) oldest = i
    if (oldest < 0) break
    const message = heads[oldest]!.shift()!
    messages.push(storedOf(message, storage, `${queueKey(queues[oldest]!)}:${message.offset}@${where()}`))
    cursor[oldest] = message.offset + 1
  }
  return { messages, next: `@${where()}` }
}
