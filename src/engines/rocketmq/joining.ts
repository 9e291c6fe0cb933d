import type { Outgoing, PublishOutcome, Source } from '../engine.ts'
import { patiently } from '../patience.ts'
import type { Cluster, Route } from './cluster.ts'
import type { Groups } from './groups.ts'
import type { Extra } from './message.ts'
import { retryPrefix } from './names.ts'
import type { Topics } from './topics.ts'

/** What a member of a group needs of its engine. */
export interface SubscriptionParts {
  readonly cluster: Cluster
  readonly topics: Topics
  readonly groups: Groups
  /** Sends copies of what is given back. */
  readonly send: (copies: readonly Outgoing[], extras: readonly Extra[]) => Promise<PublishOutcome[]>
  /** What the broker can hold back, ms. */
  readonly maxDelayMs: number
  readonly onClose: () => void
}

/** A topic as a group of ours reads it. */
export interface Read {
  readonly source: Source
  readonly topic: string
  /** As it is called on the brokers. */
  readonly group: string
  readonly route: Route
}

/** What a member has of a storage. */
export interface InHand {
  readonly count: number
  /** Given back, and waiting here. */
  readonly waiting: number
  /** How many more, or fewer, are not settled than lie behind the group's places on the brokers. */
  readonly beyond: number
  /** When the oldest was published, ms. */
  readonly oldestAt: number | undefined
}

/** For a broker that goes while somebody joins. */
const patience = { broker: 'RocketMQ', waitForServer: 20_000, waitMs: () => 200 }

/** Waits for a broker that is away, for a while. */
export const outlasting = <T>(ask: () => Promise<T>): Promise<T> => patiently(patience, ask)

/**
 * The topic and the group are there, and the group stands somewhere in the topic. A broker that goes meanwhile is waited for.
 * `mustBeOpen` throws once there is nobody to join.
 */
export async function joined(
  { topics, groups }: SubscriptionParts,
  name: string,
  source: Source,
  owner: string,
  mustBeOpen: () => void,
): Promise<{ route: Route; group: string }> {
  const group = topics.groupName(name, source.storage)
  return outlasting(async () => {
    mustBeOpen()
    const route = await topics.ensure(source.storage)
    await groups.ensure(route.brokers, group)
    await topics.noteGroup(group, name)
    await groups.admit(group, route, source.from, owner)
    mustBeOpen()
    return { route, group }
  })
}

/** Where the topic has more queues by now than the route that is known has: the group stands in them too. */
export async function admitMore({ groups }: SubscriptionParts, read: Read, route: Route, owner: string): Promise<void> {
  if (route.readable.length <= read.route.readable.length) return
  await groups.ensure(route.brokers, read.group)
  await groups.admit(read.group, route, read.topic.startsWith(retryPrefix) ? 'earliest' : read.source.from, owner)
}
