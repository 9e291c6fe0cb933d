import { setTimeout as sleep } from 'node:timers/promises'
import type { ConsumerInfo, JetStreamManager, StreamInfo } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { toBusError } from '../../../errors.ts'
import type { Finding } from '../../engine.ts'
import type { NatsOptions } from '../options.ts'
import { examinePermissions } from './permissions.ts'
import { examineConsumer, examineStream } from './streams.ts'
import { examineVersion } from './versions.ts'

/** Between two looks at how far groups are. */
const sampleMs = 1000
const skewMs = 1000
/** More than these are named by their number. */
const mostStreams = 200

/** Everything that can be seen with the rights of this user. */
export async function diagnose(nc: NatsConnection, jsm: JetStreamManager, options: NatsOptions): Promise<readonly Finding[]> {
  const servers = Math.max(1, nc.info?.connect_urls?.length ?? 1)
  const findings = [...examineVersion(nc.info?.version ?? '0'), ...sync(servers)]
  const sections = [() => clock(nc), () => examinePermissions(nc, options), () => storage(jsm, servers)]
  for (const section of sections) {
    try {
      findings.push(...(await section()))
    } catch (error) {
      findings.push({ check: 'doctor', level: 'note', detail: `could not look further: ${toBusError(error).message}` })
    }
  }
  return findings
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
  const begun = Date.now()
  const { ts } = (await nc.request('$JS.API.STREAM.NAMES', '', { timeout: 2000 })).json<{ ts?: string }>()
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

async function storage(jsm: JetStreamManager, servers: number): Promise<Finding[]> {
  const streams: StreamInfo[] = []
  for await (const info of jsm.streams.list()) if (!/^(KV|OBJ)_/.test(info.config.name) && streams.push(info) >= mostStreams) break
  const before = await consumersOf(jsm, streams)
  if (before.size > 0) await sleep(sampleMs)
  const after = await consumersOf(jsm, streams)
  const findings = streams.flatMap((stream) => examineStream(stream, servers))
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

async function consumersOf(
  jsm: JetStreamManager,
  streams: readonly StreamInfo[],
): Promise<Map<string, { stream: StreamInfo; info: ConsumerInfo }>> {
  const found = new Map<string, { stream: StreamInfo; info: ConsumerInfo }>()
  for (const stream of streams)
    if (stream.state.consumer_count > 0)
      for await (const info of jsm.consumers.list(stream.config.name)) found.set(`${stream.config.name} ${info.name}`, { stream, info })
  return found
}
