import { matcher } from '../../../topic/pattern.ts'
import type { Source, SubscriptionSpec } from '../../engine.ts'
import type { Group } from './groups.ts'
import type { Topic } from './topics.ts'

/** A subscription of this process: its members, one a source, share its credit. */
export interface Subscription {
  readonly id: number
  /** What its leases name; given with its first member. */
  owner: number | undefined
  readonly spec: SubscriptionSpec
  readonly members: Member[]
  messages: number
  bytes: number
  /** Delivered and not settled. */
  out: number
  stopped: boolean
  /** Which member is asked first: it moves on, so that one full topic does not starve the others. */
  turn: number
}

/** What one claim took; kept until all of it is settled, so that settlements can be told to be a run without looking. */
export interface Claimed {
  readonly sequences: readonly number[]
  left: number
}

/** One source of a subscription, as a member of its group. */
export class Member {
  readonly subscription: Subscription
  readonly index: number
  readonly source: Source
  readonly group: Group
  readonly topicId: number
  readonly topicName: string
  readonly matches: ((name: string) => boolean) | undefined
  /** Whether a key is held by one member of the group at a time. */
  readonly laned: boolean
  readonly oneLane: boolean
  /** By fence. */
  readonly hand = new Map<number, Claimed>()
  /** There may be something to claim. */
  maybe = true
  /** The last claim passed a key that is in other hands. */
  blocked = false
  /** The next message is larger than the credit: nothing to do until some comes back. */
  starved = false
  /** When something given back is due. */
  dueAt = Number.POSITIVE_INFINITY
  /** When leases of others are to be looked at. */
  expiryAt = 0
  /** A claim that found everything blocked is not repeated before this, whatever other processes write. */
  notBefore = 0

  constructor(subscription: Subscription, index: number, source: Source, group: Group, topic: Topic) {
    this.subscription = subscription
    this.index = index
    this.source = source
    this.group = group
    this.topicId = topic.id
    this.topicName = topic.name
    this.matches = group.filter === undefined ? undefined : matcher(group.filter)
    const { order, orderScope } = subscription.spec
    this.laned = order !== 'none' && orderScope === 'group'
    this.oneLane = order === 'topic'
  }

  get owner(): number {
    return this.subscription.owner!
  }

  /** The key under which a message is held; null = by itself. */
  laneKey(key: string | null): string | null {
    if (!this.laned) return null
    return this.oneLane ? '' : key
  }
}
