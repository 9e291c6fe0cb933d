import { setTimeout as sleep } from 'node:timers/promises'
import { BusError, toBusError } from '../../errors.ts'
import { newId } from '../../message/id.ts'
import type { Source } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { ephemeral } from './names.ts'
import { SourceReader } from './source-reader.ts'
import { type NodeStats, statsOf } from './stats.ts'

const leaseMs = 30_000
const [firstLookMs, lastLookMs] = [10, 200]

export interface Begun {
  readonly from: Source['from']
  readonly topic: string
  readonly channel: string
  /** Makes the channel, where it is not there yet, and reads it. */
  readonly reader: SourceReader
  readonly closed: () => boolean
}

/**
 * Where a group begins. nsqd gives the first channel of a topic all that waits there; a group that wants none of it lets
 * another channel be the first, which is gone with its reader. Rejected: to finish unseen what is older than the group, as
 * no two clocks agree; to empty the group's channel, as another member may be reading it by then.
 * @throws BusError `unsupported`, `conflict` for a topic whose backlog is held up, and as {@link SourceReader.start}
 */
export async function begin(cluster: Cluster, { from, topic, channel, reader, closed }: Begun): Promise<void> {
  if (from === 'earliest') return reader.start()
  if (from !== 'new')
    throw new BusError(
      'unsupported',
      `NSQ keeps no history: a group begins with what waits (from: 'earliest') or with nothing (from: 'new')`,
    )
  const waits = async (): Promise<boolean> => anyWaits(await ask(cluster, topic), channel)
  if (!(await waits())) return reader.start()
  const nothing = (): void => {}
  const passing = new SourceReader(cluster, topic, ephemeral(`skip-${newId()}`), leaseMs, {
    joined: nothing,
    left: nothing,
    refused: nothing,
    message: nothing,
  })
  try {
    await passing.start()
    for (let waitMs = firstLookMs; await waits(); waitMs = Math.min(lastLookMs, waitMs * 2)) {
      if (closed()) throw new BusError('closed', 'the subscription is closed')
      await sleep(waitMs)
    }
    await reader.start()
  } finally {
    await passing.stop()
  }
}

/** @throws BusError `unsupported` where the HTTP side cannot be asked */
async function ask(cluster: Cluster, topic: string): Promise<NodeStats[]> {
  try {
    return await statsOf(cluster, topic)
  } catch (thrown) {
    const error = toBusError(thrown)
    if (cluster.connected.length === 0) throw error
    throw new BusError(
      'unsupported',
      `from: 'new' needs the HTTP side of nsqd, which tells what waits (${error.message}); say by nsq.http where it is, or begin with what waits (from: 'earliest')`,
      { cause: error },
    )
  }
}

/** Whether something waits where the channel is not there yet. */
function anyWaits(nodes: readonly NodeStats[], channel: string): boolean {
  for (const { nsqd, topics } of nodes)
    for (const { topic_name, depth, channels, paused } of topics) {
      if (depth === 0 || channels.some(({ channel_name }) => channel_name === channel)) continue
      if (paused)
        throw new BusError(
          'conflict',
          `topic '${topic_name}' is paused on nsqd ${nsqd.name}, and what waits there cannot be passed over; unpause it, or begin with what waits (from: 'earliest')`,
        )
      return true
    }
  return false
}
