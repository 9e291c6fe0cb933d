import type { NatsConnection } from '@nats-io/transport-node'
import { covers } from '../../../topic/pattern.ts'
import type { Finding } from '../../engine.ts'
import { untilAnswered } from '../asking.ts'
import { checkpointsBucket, ledgerBucket, ownersBucket } from '../names.ts'
import type { NatsOptions } from '../options.ts'

interface Rules {
  readonly allow?: readonly string[]
  readonly deny?: readonly string[]
}

interface Need {
  readonly what: string
  readonly subjects: readonly string[]
  readonly making?: true
}

/** What the bus sends for each thing it does. `STREAM.INFO.x` stands for any stream. */
const needed: readonly Need[] = [
  { what: 'seeing that JetStream is there', subjects: ['$JS.API.INFO'] },
  { what: 'finding the stream of a topic', subjects: ['$JS.API.STREAM.INFO.x', '$JS.API.STREAM.NAMES'] },
  { what: 'listing topics and groups', subjects: ['$JS.API.STREAM.LIST', '$JS.API.CONSUMER.LIST.x'] },
  { what: 'finding the consumer of a group', subjects: ['$JS.API.CONSUMER.INFO.x.y'] },
  { what: 'fetching messages', subjects: ['$JS.API.CONSUMER.MSG.NEXT.x.y'] },
  { what: 'acknowledging', subjects: ['$JS.ACK.x.y.1.1.1.1.0'] },
  { what: 'owning a part of a group', subjects: [`$KV.${ownersBucket}.x`, `$JS.API.STREAM.PURGE.KV_${ownersBucket}`] },
  { what: 'keeping the place of a group', subjects: [`$KV.${checkpointsBucket}.x`] },
  { what: 'keeping attempts and dead letters', subjects: [`$KV.${ledgerBucket}.x`, `$JS.API.STREAM.PURGE.KV_${ledgerBucket}`] },
  { what: 'reading what is kept', subjects: ['$JS.API.DIRECT.GET.x'] },
  { what: 'telling other processes, and replays', subjects: ['_cozebus.x'] },
  { what: 'making streams', subjects: ['$JS.API.STREAM.CREATE.x'], making: true },
  { what: 'making consumers', subjects: ['$JS.API.CONSUMER.CREATE.x.y'], making: true },
]

/** What it hears; without the last ones it asks instead, later. */
const heard: readonly (Need & { readonly level: Finding['level'] })[] = [
  { what: 'answers arrive', subjects: ['_INBOX.x.1'], level: 'problem' },
  { what: 'members of a group hear each other', subjects: [`$KV.${ownersBucket}.x`], level: 'problem' },
  { what: 'processes hear of replays, pauses and changes', subjects: ['_cozebus.x'], level: 'problem' },
  {
    what: 'the server tells of new topics and new leaders',
    subjects: ['$JS.EVENT.ADVISORY.STREAM.CREATED.x', '$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED.x.y'],
    level: 'note',
  },
]

export async function examinePermissions(nc: NatsConnection, { provision = 'create' }: NatsOptions): Promise<Finding[]> {
  let user: { permissions?: { publish?: Rules; subscribe?: Rules } }
  try {
    const answer = await untilAnswered(() => nc.request('$SYS.REQ.USER.INFO', '', { timeout: 2000 }), 5000)
    user = answer.json<{ data: typeof user }>().data
  } catch {
    return [{ check: 'permissions', level: 'note', detail: 'the server does not say what this user may do' }]
  }
  const { publish, subscribe } = user.permissions ?? {}
  const making = provision === 'create' || provision === 'apply'
  const missing = needed
    .filter((one) => making || !one.making)
    .flatMap(({ what, subjects }) => subjects.filter((subject) => !may(publish, subject)).map((subject) => ({ what, subject })))
  const findings: Finding[] = missing.map(({ what, subject }) => ({
    check: 'permissions',
    level: 'problem',
    detail: `no permission for ${what} (publish ${anyOf(subject)})`,
    advice: `allow it${subject.includes('CREATE') ? ", or make it beforehand and connect with nats: { provision: 'off' }" : ''}`,
  }))
  for (const { what, subjects, level } of heard)
    for (const subject of subjects)
      if (!may(subscribe, subject))
        findings.push({
          check: 'permissions',
          level,
          detail: `no permission to subscribe to ${anyOf(subject)}`,
          advice: `${what} there: allow it`,
        })
  if (findings.length > 0) return findings
  return [{ check: 'permissions', level: 'ok', detail: publish || subscribe ? 'enough for what is configured' : 'everything is allowed' }]
}

function anyOf(subject: string): string {
  return subject.replaceAll(/\b[xy]\b/g, '*')
}

function may(rules: Rules | undefined, subject: string): boolean {
  const { allow, deny } = rules ?? {}
  const hit = (patterns: readonly string[] | undefined): boolean =>
    (patterns ?? []).some((pattern) => covers(pattern.split(' ')[0]!, subject))
  return (allow === undefined || allow.length === 0 || hit(allow)) && !hit(deny)
}
