import { BusError } from '../../errors.ts'
import type { Page, ReadFrom, Stored } from '../engine.ts'
import type { Cluster, Topic } from './cluster.ts'
import { listOffsets } from './offsets.ts'
import { decodeRecord, type Read, recordsOf } from './records.ts'

const partBytes = 1024 * 1024
const readCommitted = 1

/** What lies at these offsets and behind them, as much as an answer holds; and where each partition goes on. */
export async function readFrom(
  cluster: Cluster,
  topic: Topic,
  places: ReadonlyMap<number, number>,
  maxBytes = partBytes,
): Promise<Map<number, ReturnType<typeof recordsOf>>> {
  return cluster.patiently(`topic '${topic.name}'`, async () => {
    const known = cluster.known(topic.name) ?? topic
    const found = new Map<number, ReturnType<typeof recordsOf>>()
    try {
      await Promise.all(
        [...Map.groupBy(places.keys(), (partition) => known.leaders[partition] ?? -1)].map(async ([leader, partitions]) => {
          const asked = partitions.map((partition) => ({
            partition,
            currentLeaderEpoch: known.epochs[partition] ?? -1,
            fetchOffset: BigInt(places.get(partition)!),
            lastFetchedEpoch: -1,
            partitionMaxBytes: maxBytes,
          }))
          const connection = await cluster.node(leader)
          const answer = await cluster.ask(
            connection,
            'Fetch',
            0,
            0,
            16 * partBytes,
            readCommitted,
            0,
            -1,
            [{ topicId: known.id, partitions: asked }],
            [],
            '',
          )
          for (const { partitions: own } of answer.responses)
            for (const { partitionIndex, records, abortedTransactions, broken } of own) {
              if (broken !== undefined) throw broken
              found.set(partitionIndex, recordsOf(records, abortedTransactions, places.get(partitionIndex)!))
            }
        }),
      )
    } catch (error) {
      await cluster.lookAgain([topic.name], error)
    }
    return found
  })
}

/** The one record; undefined where it is gone. */
export async function readOne(cluster: Cluster, topic: Topic, partition: number, offset: number): Promise<Read | undefined> {
  const found = await readFrom(cluster, topic, new Map([[partition, offset]]), 1)
  return found.get(partition)?.records.find((record) => record.offset === offset)
}

/**
 * Positions. A record knows its own offset only (`p:o`); a page of all partitions also says where each of them stands
 * (`p:o@0,5,3`); the place between two pages is just that (`@0,6,3`). `past`: 1 = after the record that a position names, 0 = at it.
 */
export async function placeOf(cluster: Cluster, topic: Topic, from: ReadFrom, past: 0 | 1): Promise<number[]> {
  if (from === 'start' || from === 'end' || typeof from === 'object') return listOffsets(cluster, topic, from)
  const found = /^(?:(\d+):(\d+))?(?:@([\d,]+))?$/.exec(from)
  if (!found || from === '')
    throw new BusError(
      'invalid_argument',
      `position ${JSON.stringify(from)} is none of Kafka's; use one that it gave, 'start', 'end' or a time`,
    )
  const partition = Number(found[1] ?? -1)
  const offset = Number(found[2] ?? -1)
  const [starts, ends] = [await listOffsets(cluster, topic, 'start'), await listOffsets(cluster, topic, 'end')]
  let offsets = found[3]?.split(',').map(Number)
  if (!offsets) {
    // It says nothing of the other partitions: they are taken from the same time, so that nothing is left out.
    const record =
      offset >= 0 && offset < (ends[partition] ?? 0) ? await readOne(cluster, topic, partition, offset).catch(() => undefined) : undefined
    offsets = record ? await listOffsets(cluster, topic, { timeMs: record.timestampMs }) : [...starts]
  }
  if (partition >= 0) offsets[partition] = offset + past
  return ends.map((end, i) => Math.min(end, Math.max(starts[i]!, offsets[i] ?? 0)))
}

/** Up to `limit` records after the place, merged by time. */
export async function readPage(cluster: Cluster, topic: Topic, storage: string, after: ReadFrom, limit: number): Promise<Page> {
  const cursor = await placeOf(cluster, topic, after, 1)
  const ends = await listOffsets(cluster, topic, 'end')
  const heads = cursor.map((): Read[] => [])
  const fetched = [...cursor]
  const messages: Stored[] = []
  while (messages.length < limit) {
    const hungry = [...cursor.keys()].filter((i) => heads[i]!.length === 0 && fetched[i]! < ends[i]!)
    const wanted = new Map(hungry.map((i) => [i, fetched[i]!]))
    if (wanted.size > 0)
      for (const [i, { records, next }] of await readFrom(cluster, topic, wanted)) {
        heads[i] = records.filter(({ offset }) => offset < ends[i]!)
        // Nothing that is committed lies behind it.
        if (next === fetched[i]) ends[i] = next
        fetched[i] = next
        if (heads[i]!.length === 0) cursor[i] = next
      }
    if ([...cursor.keys()].some((i) => heads[i]!.length === 0 && fetched[i]! < ends[i]!)) continue
    let oldest = -1
    for (const [i, [head]] of heads.entries()) if (head && (oldest < 0 || head.timestampMs < heads[oldest]![0]!.timestampMs)) oldest = i
    if (oldest < 0) break
    const record = heads[oldest]!.shift()!
    messages.push(decodeRecord(record, storage, oldest, `${oldest}:${record.offset}@${cursor.join(',')}`))
    cursor[oldest] = record.offset + 1
  }
  return { messages, next: `@${cursor.join(',')}` }
}
