import { byTopic, examineGroups, inSections, type Said, spanOf, together } from '../diagnosing.ts'
import { each } from '../each.ts'
import type { Finding, GroupInfo, StorageName } from '../engine.ts'
import { isForbidden } from './failure.ts'
import type { Http } from './http.ts'
import type { Topics } from './topics.ts'

export interface Examined {
  readonly http: Http | undefined
  readonly topics: Topics
  readonly groups: (storage: StorageName) => Promise<readonly GroupInfo[]>
}

interface Quota {
  readonly limitSize?: number
  readonly limitTime?: number
  readonly policy: string
}

/** What holds for a topic, of its own, its namespace's and the brokers' settings. */
interface Policies {
  readonly expiryS: number
  readonly quotas: readonly Quota[]
  readonly forgottenAfterMinutes: number
  readonly inactive:
    | { readonly inactiveTopicDeleteMode: string; readonly maxInactiveDurationSeconds: number; readonly deleteWhileInactive: boolean }
    | undefined
  /** How long what every group has settled, or no group waits for, is kept. */
  readonly keptMinutes: number
  readonly confirming: number
}

/** Looks at the broker, the settings that delete messages or topics, and at what waits for groups; all of it over HTTP. */
export async function diagnose({ http, topics, groups }: Examined): Promise<readonly Finding[]> {
  if (!http)
    return [
      {
        check: 'http',
        level: 'warning',
        detail: 'the HTTP interface is not known, so settings and groups cannot be seen',
        advice: "set pulsar.admin to its address, like 'http://host:8080'",
      },
    ]
  let storages: Awaited<ReturnType<Topics['all']>> = new Map()
  return inSections([
    () => examineBroker(http),
    async () => {
      storages = await topics.all()
      const stores = await bookies(http)
      const named = [...storages].map(([storage, { topic }]) => ({ storage, path: topics.path(topic) }))
      const said = await each(named, together, async ({ storage, path }) => examineTopic(storage, await policiesOf(http, path), stores))
      return [...byTopic(said.flat()), ...(named.length === 0 ? [] : [looked(named.length)])]
    },
    () => examineGroups(storages.keys(), groups),
  ])
}

const looked = (count: number): Finding => ({ check: 'topics', level: 'ok', detail: `${count} looked at` })

async function examineBroker(http: Http): Promise<Finding[]> {
  const version = await http.ask('GET', '/admin/v2/brokers/version').catch(permitted)
  const name = version === undefined ? 'broker' : `Pulsar ${version}`
  try {
    // It publishes to itself and reads.
    await http.ask('GET', '/admin/v2/brokers/health?topicVersion=V2')
    return [{ check: 'broker', level: 'ok', detail: `${name} stores and delivers` }]
  } catch (error) {
    if (!isForbidden(error))
      return [
        {
          check: 'broker',
          level: 'problem',
          detail: `${name} is not well: ${(error as Error).message}`,
          advice: 'see its log, and those of its bookies',
        },
      ]
    return [{ check: 'broker', level: 'ok', detail: `${name} answers; this user may not ask it how it is` }]
  }
}

function examineTopic(
  topic: string,
  { expiryS, quotas, forgottenAfterMinutes, inactive, keptMinutes, confirming }: Policies,
  stores: number,
): Said[] {
  const found: Said[] = []
  const say = (level: Finding['level'], detail: string, advice: string): void => {
    found.push({ topic, check: 'topic', level, detail, advice })
  }
  if (expiryS > 0)
    say(
      'warning',
      `what a group has not settled after ${spanOf(expiryS * 1000)} is dropped unread`,
      'remove messageTTL of the topic or namespace (ttlDurationDefaultInSeconds)',
    )
  for (const { policy, limitSize = -1, limitTime = -1 } of quotas) {
    if (limitSize < 0 && limitTime < 0) continue
    const limit = limitSize >= 0 ? `${limitSize} bytes` : spanOf(limitTime * 1000)
    if (policy === 'consumer_backlog_eviction')
      say(
        'warning',
        `past a backlog of ${limit} the oldest messages are dropped unread`,
        'policy producer_request_hold or producer_exception of the backlog quota',
      )
    else say('note', `past a backlog of ${limit} nothing can be published`, 'look after the lag, or raise the backlog quota')
  }
  if (forgottenAfterMinutes > 0)
    say(
      'warning',
      `a group in which nobody was for ${spanOf(forgottenAfterMinutes * 60_000)} is deleted with what waits for it`,
      'subscriptionExpirationTime 0',
    )
  if (inactive?.deleteWhileInactive === true && inactive.inactiveTopicDeleteMode === 'delete_when_subscriptions_caught_up')
    say(
      'warning',
      `it is deleted with its groups after ${spanOf(inactive.maxInactiveDurationSeconds * 1000)} in which nobody was connected and nothing waited`,
      'inactiveTopicPolicies: delete_when_no_subscriptions',
    )
  if (keptMinutes === 0)
    say(
      'note',
      'what is published before there is a group is thrown away after a while',
      'a retention, as topics made here have (pulsar.historyMs)',
    )
  if (confirming === 1 && stores > 1)
    say(
      'warning',
      `a confirm means that one of ${stores} bookies has it`,
      'an ack quorum of 2 (persistence of the topic or namespace): what one bookie alone has is lost with it',
    )
  return found
}

async function policiesOf(http: Http, path: string): Promise<Policies> {
  const ask = async <T>(what: string): Promise<T | undefined> =>
    (await http.ask('GET', `${path}/${what}?applied=true`).catch(permitted)) as T | undefined
  const [expiry, quotas, forgotten, inactive, retention, persistence] = await Promise.all([
    ask<number>('messageTTL'),
    ask<Record<string, Quota>>('backlogQuotaMap'),
    ask<number>('subscriptionExpirationTime'),
    ask<NonNullable<Policies['inactive']>>('inactiveTopicPolicies'),
    ask<{ retentionTimeInMinutes: number }>('retention'),
    ask<{ bookkeeperAckQuorum: number }>('persistence'),
  ])
  return {
    expiryS: expiry ?? 0,
    quotas: Object.values(quotas ?? {}),
    forgottenAfterMinutes: forgotten ?? 0,
    inactive,
    keptMinutes: retention?.retentionTimeInMinutes ?? -1,
    confirming: persistence?.bookkeeperAckQuorum ?? 0,
  }
}

/** How many bookies there are, for those who may know. */
async function bookies(http: Http): Promise<number> {
  const found = (await http.ask('GET', '/admin/v2/bookies/all').catch(permitted)) as { bookies?: unknown[] } | undefined
  return found?.bookies?.length ?? 1
}

/** What this user may not see is not looked at. */
function permitted(error: unknown): undefined {
  if (!isForbidden(error)) throw error
}
