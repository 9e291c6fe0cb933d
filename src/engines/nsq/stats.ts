import type { Cluster } from './cluster.ts'
import type { Nsqd } from './nsqd.ts'

export interface ChannelStats {
  readonly channel_name: string
  readonly depth: number
  readonly in_flight_count: number
  readonly deferred_count: number
  readonly client_count: number
  /** Not by the bus, whose pauses are in the ledger. */
  readonly paused: boolean
}

export interface TopicStats {
  readonly topic_name: string
  /** Not yet handed to its channels. */
  readonly depth: number
  /** Since nsqd was started. */
  readonly message_count: number
  readonly message_bytes: number
  readonly channels: readonly ChannelStats[]
  readonly paused: boolean
}

export interface NodeStats {
  readonly nsqd: Nsqd
  readonly topics: readonly TopicStats[]
}

/** What one nsqd holds, of one topic or all. */
export async function topicsAt(nsqd: Nsqd, topic?: string): Promise<readonly TopicStats[]> {
  const one = topic === undefined ? '' : `&topic=${encodeURIComponent(topic)}`
  const { topics } = (await nsqd.ask('GET', `/stats?format=json&include_clients=false&include_mem=false${one}`)) as {
    topics: TopicStats[] | null
  }
  return topics ?? []
}

/**
 * What each nsqd holds, of one topic or all.
 * @throws BusError `engine_unavailable` when one that is there does not answer: a sum without it would be wrong
 */
export async function statsOf(cluster: Cluster, topic?: string): Promise<NodeStats[]> {
  return Promise.all(cluster.askable.map(async (nsqd) => ({ nsqd, topics: await topicsAt(nsqd, topic) })))
}

export async function topicsOf(cluster: Cluster): Promise<string[]> {
  const all = await statsOf(cluster)
  return [...new Set(all.flatMap(({ topics }) => topics.map(({ topic_name }) => topic_name)))]
}

/** Messages that a channel has not finished. */
export function heldBy({ depth, in_flight_count, deferred_count }: ChannelStats): number {
  return depth + in_flight_count + deferred_count
}

/** Messages of a topic: each channel has its own copies, so the fullest one tells, and what no channel has yet. */
export function messagesOf({ depth, channels }: TopicStats): number {
  return depth + Math.max(0, ...channels.map(heldBy))
}
