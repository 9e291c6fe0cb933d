import type { Outgoing, PublishOutcome } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import type { Groups } from './groups.ts'
import type { Extra } from './message.ts'
import type { Topics } from './topics.ts'

/** What a member of a group needs of its engine. */
export interface SubscriptionParts {
  readonly cluster: Cluster
  readonly topics: Topics
  readonly groups: Groups
  /** Sends copies of what is given back. */
  readonly send: (copies: readonly Outgoing[], extras: readonly Extra[]) => Promise<PublishOutcome[]>
  readonly onClose: () => void
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
