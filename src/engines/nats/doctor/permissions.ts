import type { NatsConnection } from '@nats-io/transport-node'
import { covers } from '../../../topic/pattern.ts'
import type { Finding } from '../../engine.ts'
import type { NatsOptions } from '../options.ts'

interface Rules {
  readonly allow?: readonly string[]
  readonly deny?: readonly string[]
}

/** What the bus sends for each thing it does. `STREAM.INFO.x` stands for any stream. */
const needed: readonly { readonly what: string; readonly subjects: readonly string[]; readonly making?: true }[] = [
  { what: 'seeing that JetStream is there', subjects: ['$JS.API.INFO'] },
  { what: 'finding the stream of a topic', subjects: ['$JS.API.STREAM.INFO.x', '$JS.API.STREAM.NAMES'] },
  { what: 'finding the consumer of a group', subjects: ['$JS.API.CONSUMER.INFO.x.y'] },
  { what: 'fetching messages', subjects: ['$JS.API.CONSUMER.MSG.NEXT.x.y'] },
  { what: 'acknowledging', subjects: ['$JS.ACK.x.y.1.1.1.1.0'] },
  { what: 'making streams', subjects: ['$JS.API.STREAM.CREATE.x'], making: true },
  { what: 'making consumers', subjects: ['$JS.API.CONSUMER.CREATE.x.y'], making: true },
]

export async function examinePermissions(nc: NatsConnection, { provision = 'create' }: NatsOptions): Promise<Finding[]> {
  let user: { permissions?: { publish?: Rules; subscribe?: Rules } }
  try {
    const answer = await nc.request('$SYS.REQ.USER.INFO', '', { timeout: 2000 })
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
    detail: `no permission for ${what} (publish ${subject.replaceAll(/\b[xy]\b/g, '*')})`,
    advice: `allow it${subject.includes('CREATE') ? ", or make it beforehand and connect with nats: { provision: 'off' }" : ''}`,
  }))
  if (!may(subscribe, '_INBOX.x.1'))
    findings.push({
      check: 'permissions',
      level: 'problem',
      detail: 'no permission to subscribe to _INBOX.>',
      advice: 'answers arrive there: allow it',
    })
  if (findings.length > 0) return findings
  return [{ check: 'permissions', level: 'ok', detail: publish || subscribe ? 'enough for what is configured' : 'everything is allowed' }]
}

function may(rules: Rules | undefined, subject: string): boolean {
  const { allow, deny } = rules ?? {}
  const hit = (patterns: readonly string[] | undefined): boolean =>
    (patterns ?? []).some((pattern) => covers(pattern.split(' ')[0]!, subject))
  return (allow === undefined || allow.length === 0 || hit(allow)) && !hit(deny)
}
