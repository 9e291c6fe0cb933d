import { setTimeout as sleep } from 'node:timers/promises'
import type { ConsumerInfo, StreamInfo } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { toBusError } from '../../../errors.ts'
import { inSections } from '../../diagnosing.ts'
import type { Finding } from '../../engine.ts'
import type { Api } from '../api.ts'
import { untilAnswered } from '../asking.ts'
import type { NatsOptions } from '../options.ts'
import { examinePermissions } from './permissions.ts'
import { examineConsumer, examineStream, isOwn, isUncertain } from './streams.ts'
import { examineVersion } from './versions.ts'

/** Between two looks at how far groups are. */
const sampleMs = 1000
const skewMs = 1000
/** More than these are named by their number. */
const mostStreams = 200
/** A copy that fell silent a moment ago shows after so long. */
const silenceMs = 2000
/** Between two looks at one that was not heard of for a moment, and how many there are. */
const againMs = 500
const mostLooks = 20

/** Everything that can be seen with the rights of this user. */
export async function diagnose(nc: NatsConnection, api: Api, options: NatsOptions): Promise<readonly Finding[]> {
  // Those that run, and no others, tell their addresses.
  const running = Math.max(1, nc.info?.connect_urls?.length ?? 1)
  let streams: readonly StreamInfo[] = []
  return inSections([
    () => examineVersion(nc.info?.version ?? '0'),
    () => sync(running),
    () => clock(nc),
    () => examinePermissions(nc, options),
    async () => {
      const answered = await streamsOf(api)
      streams = answered.streams
      return answered.findings
    },
    () => copies(api, streams, running),
    () =>
      groups(
        api,
        streams.filter(({ config }) => !isOwn(config.name)),
      ),
  ])
}

/** The setting is the server's, and seen by its system account alone. */
function sync(servers: number): Finding[] {
  return [
    {
      check: 'durability',
      level: servers >= 3 ? 'note' : 'warning',
      detail:
        'a confirm means written, not synced to disk, unless the server has `jetstream { sync_interval: always }`; which cannot be seen from here',
      advice:
        servers >= 3
          ? 'three copies on machines that fail one at a time, or that setting'
          : 'a power failure may take back up to two minutes: set it, or keep three copies',
    },
  ]
}

async function clock(nc: NatsConnection): Promise<Finding[]> {
  let begun = 0
  const { ts } = await untilAnswered(async () => {
    begun = Date.now()
    return (await nc.request('$JS.API.STREAM.NAMES', '', { timeout: 2000 })).json<{ ts?: string }>()
  })
  const now = ts ?? (await anyStreamTime(nc))
  if (now === undefined) return [{ check: 'clock', level: 'note', detail: 'the server tells no time before there is a stream' }]
  const apart = Math.round(Date.parse(now) - (begun + Date.now()) / 2)
  if (Math.abs(apart) <= skewMs) return [{ check: 'clock', level: 'ok', detail: `within ${skewMs} ms of the server's` }]
  return [
    {
      check: 'clock',
      level: 'warning',
      detail: `the server's clock is ${Math.abs(apart)} ms ${apart > 0 ? 'ahead of' : 'behind'} this machine's`,
      advice: 'delays, retention and timestamps are off by that: set both by NTP',
    },
  ]
}

async function anyStreamTime(nc: NatsConnection): Promise<string | undefined> {
  const { streams } = (await nc.request('$JS.API.STREAM.NAMES', '', { timeout: 2000 })).json<{ streams?: string[] | null }>()
  if (!streams?.[0]) return undefined
  return (await nc.request(`$JS.API.STREAM.INFO.${streams[0]}`, '', { timeout: 2000 })).json<{ ts?: string }>().ts
}

/** One by one: a list waits for each that has no leader. */
async function streamsOf(api: Api): Promise<{ streams: StreamInfo[]; findings: Finding[] }> {
  const names = (await api.streams.names()).filter((name) => !/^(KV|OBJ)_/.test(name) || isOwn(name)).slice(0, mostStreams)
  const streams: StreamInfo[] = []
  const findings: Finding[] = []
  await Promise.all(
    names.map(async (name) => {
      try {
        streams.push(await api.streams.info(name))
      } catch (error) {
        findings.push({
          check: 'stream',
          level: 'problem',
          detail: `${name}: nobody answers for it (${toBusError(error).message})`,
          advice: 'it has no leader: see which of the servers with its copies are away, and start them',
        })
      }
    }),
  )
  return { streams, findings }
}

async function copies(api: Api, streams: readonly StreamInfo[], running: number): Promise<Finding[]> {
  // A server that is away still holds copies.
  const servers = Math.max(running, new Set(streams.flatMap(serversOf)).size)
  const looked = await Promise.all(streams.map((stream) => certain(api, stream)))
  return looked.flatMap((stream) => examineStream(stream, servers))
}

async function groups(api: Api, streams: readonly StreamInfo[]): Promise<Finding[]> {
  const findings: Finding[] = []
  const before = await consumersOf(api, streams)
  if (before.size > 0) await sleep(sampleMs)
  const after = await consumersOf(api, streams)
  let ours = 0
  for (const [key, { stream, info }] of after) {
    if (info.config.max_deliver === -1) ours++
    const earlier = before.get(key)?.info.delivered.consumer_seq ?? info.delivered.consumer_seq
    findings.push(...examineConsumer(stream, info, ((info.delivered.consumer_seq - earlier) * 1000) / sampleMs))
  }
  if (ours > 0)
    findings.push({
      check: 'groups',
      level: 'ok',
      detail: `${ours} without a server-side max_deliver: by design, as the bus counts attempts itself and keeps what it gives up on as dead letters`,
    })
  findings.push({
    check: 'streams',
    level: 'ok',
    detail: `${streams.length} looked at${streams.length >= mostStreams ? ', the first of them' : ''}, ${after.size} consumers`,
  })
  return findings
}

/** A copy that is not heard of is looked at again, until it is heard of or counts as away. */
async function certain(api: Api, stream: StreamInfo): Promise<StreamInfo> {
  let info = stream
  let waitMs = silenceMs
  if ((stream.cluster?.replicas ?? []).length === 0) return info
  for (let looks = 0; looks === 0 || (looks < mostLooks && isUncertain(info)); looks++) {
    await sleep(waitMs)
    waitMs = againMs
    info = await api.streams.info(stream.config.name).catch(() => info)
  }
  return info
}

function serversOf({ cluster }: StreamInfo): string[] {
  return [...(cluster?.leader ? [cluster.leader] : []), ...(cluster?.replicas ?? []).map(({ name }) => name)]
}

async function consumersOf(api: Api, streams: readonly StreamInfo[]): Promise<Map<string, { stream: StreamInfo; info: ConsumerInfo }>> {
  const found = new Map<string, { stream: StreamInfo; info: ConsumerInfo }>()
  for (const stream of streams)
    if (stream.state.consumer_count > 0)
      for (const info of await api.consumers.list(stream.config.name)) found.set(`${stream.config.name} ${info.name}`, { stream, info })
  return found
}
