import { BusError } from '../../../errors.ts'
import type { Source, SubscriptionSpec } from '../../engine.ts'
import { buffersOf, type MessageRow, packRows } from '../columns.ts'
import { settleFields, settleKind } from '../protocol.ts'
import type { Claiming } from './claiming.ts'
import type { Groups } from './groups.ts'
import { Member, type Subscription } from './member.ts'
import type { Outbox } from './outbox.ts'
import type { Presence } from './presence.ts'
import type { Settling } from './settling.ts'

/** How soon leases of others are looked at again, at most. */
const expiryLookMs = 50
/** How soon a claim that found everything blocked is repeated when another process wrote. */
const blockedLookMs = 5

/** The subscriptions of this process: which of them may have something to claim, and what they hold. */
export class Subscriptions {
  readonly #groups: Groups
  readonly #claiming: Claiming
  readonly #settling: Settling
  readonly #out: Outbox
  readonly #presence: Presence
  readonly #all = new Map<number, Subscription>()
  readonly #byTopic = new Map<number, Set<Member>>()
  readonly #byId = new Map<number, Member>()

  constructor(groups: Groups, claiming: Claiming, settling: Settling, out: Outbox, presence: Presence) {
    this.#groups = groups
    this.#claiming = claiming
    this.#settling = settling
    this.#out = out
    this.#presence = presence
  }

  open(id: number, spec: SubscriptionSpec, now: number): void {
    const subscription: Subscription = { id, spec, members: [], messages: 0, bytes: 0, out: 0, stopped: false, turn: 0 }
    for (const source of spec.sources) this.#join(subscription, source, now)
    this.#all.set(id, subscription)
    this.#out.undo(() => this.#all.delete(id))
  }

  add(id: number, source: Source, now: number): void {
    this.#join(this.#get(id), source, now)
  }

  stop(id: number): void {
    this.#get(id).stopped = true
  }

  /** Gives back what is unsettled. Settling afterwards says lost. */
  leave(id: number): void {
    const subscription = this.#all.get(id)
    if (!subscription) return
    for (const member of subscription.members) {
      this.#settling.returnAll(member.group.id, member.id)
      this.#settling.forgetMember(member.id)
    }
    this.#out.afterCommit(() => {
      this.#all.delete(id)
      for (const member of subscription.members) {
        this.#byTopic.get(member.topicId)?.delete(member)
        this.#byId.delete(member.id)
        this.#wakeGroup(member)
      }
    })
  }

  leaveAll(): void {
    for (const id of this.#all.keys()) this.leave(id)
  }

  grant(id: number, messages: number, bytes: number): void {
    const subscription = this.#all.get(id)
    if (!subscription) return
    subscription.messages += messages
    subscription.bytes += bytes
    for (const member of subscription.members) member.starved = false
  }

  settle(id: number, rows: Float64Array, now: number): number[] {
    const subscription = this.#all.get(id)
    if (!subscription) return Array.from({ length: rows.length / settleFields }, (_, i) => i)
    const { members } = subscription
    const { lost, released } = this.#settling.settle(members, rows, now)
    this.#out.afterCommit(() => {
      const late = new Set(lost)
      for (let i = 0; i * settleFields < rows.length; i++) {
        const at = i * settleFields
        if (rows[at + 1] !== settleKind.extend || late.has(i)) forget(members[rows[at]!]!, rows[at + 3]!)
      }
      for (const member of members) {
        member.starved = false
        if (released || member.laned) this.#wakeGroup(member)
      }
    })
    return lost
  }

  wakeTopics(topics: Iterable<number>): void {
    for (const topic of topics) for (const member of this.#byTopic.get(topic) ?? []) member.maybe = true
  }

  /** Another process wrote: anything may be there, and anything may have changed hands. */
  wakeAll(now: number): void {
    for (const member of this.#byId.values()) {
      member.maybe = true
      member.expiryAt = Math.min(member.expiryAt, now + expiryLookMs)
    }
  }

  /** Members with credit that may have something. `looking`: outside a turn, where a look is cheaper than a transaction. */
  hasWork(now: number): boolean {
    for (const subscription of this.#all.values()) {
      if (!hasCredit(subscription)) continue
      for (const member of subscription.members) {
        if (now >= member.expiryAt && this.#lookForExpired(member, now)) return true
        if (now >= member.dueAt) {
          member.maybe = true
          member.dueAt = Number.POSITIVE_INFINITY
        }
        if (!member.maybe || member.starved || now < member.notBefore) continue
        if (this.#claiming.peek(member, now)) return true
        member.maybe = false
      }
    }
    return false
  }

  /** In a transaction: one claim for each member that may have something. */
  claim(now: number): void {
    for (const subscription of this.#all.values()) {
      const { members } = subscription
      const first = subscription.turn++
      for (let i = 0; i < members.length && hasCredit(subscription); i++) {
        const member = members[(first + i) % members.length]!
        if (now >= member.expiryAt) this.#takeExpired(member, now)
        if (member.maybe && !member.starved && now >= member.notBefore) this.#claimFor(member, now)
      }
    }
  }

  /** When something is to be done though nobody asks. */
  nextTimer(): number {
    let next = Number.POSITIVE_INFINITY
    for (const subscription of this.#all.values()) {
      if (!hasCredit(subscription)) continue
      for (const member of subscription.members) {
        next = Math.min(next, member.dueAt, member.expiryAt)
        if (member.maybe && !member.starved) next = Math.min(next, member.notBefore)
      }
    }
    return next
  }

  #claimFor(member: Member, now: number): void {
    const { subscription } = member
    const before = { maybe: member.maybe, messages: subscription.messages, bytes: subscription.bytes, out: subscription.out }
    const claim = this.#claiming.claim(member, now)
    if (!claim) {
      this.#rejoin(member, now)
      return
    }
    const { rows, fence } = claim
    member.maybe = claim.more
    member.starved = claim.starved
    if (rows.length === 0) {
      if (member.laned && !claim.more) member.notBefore = now + blockedLookMs
      return
    }
    let bytes = 0
    for (const row of rows) bytes += row[6].byteLength
    subscription.messages -= rows.length
    subscription.bytes -= bytes
    subscription.out += rows.length
    member.hand.set(fence, { sequences: ascending(rows), left: rows.length })
    this.#out.undo(() => {
      member.hand.delete(fence)
      member.maybe = before.maybe
      Object.assign(subscription, { messages: before.messages, bytes: before.bytes, out: before.out })
    })
    // Siblings in this process hear of the new leases here; those elsewhere by what was written.
    for (const other of this.#byTopic.get(member.topicId) ?? [])
      if (other !== member && other.group.id === member.group.id) other.expiryAt = Math.min(other.expiryAt, now + subscription.spec.leaseMs)
    const columns = packRows(rows, member.topicName, claim.redelivered)
    this.#out.push({ op: 'deliver', subscription: subscription.id, source: member.index, fence, columns }, buffersOf(columns))
  }

  #lookForExpired(member: Member, now: number): boolean {
    const next = this.#settling.nextExpiry(member)
    member.expiryAt = Math.max(next, now + expiryLookMs)
    if (next > now) return false
    member.expiryAt = now
    return true
  }

  #takeExpired(member: Member, now: number): void {
    const taken = this.#settling.expire(member, now)
    member.expiryAt = Math.max(this.#settling.nextExpiry(member), now + expiryLookMs)
    if (taken.length === 0) return
    member.maybe = true
    member.notBefore = 0
    this.#out.undo(() => {
      member.expiryAt = 0
    })
    for (const { seq, fence, member: of } of taken) {
      const loser = this.#byId.get(of)
      if (!loser) continue
      this.#out.push({ op: 'lost', subscription: loser.subscription.id, source: loser.index, sequences: [seq] })
      this.#out.afterCommit(() => forget(loser, fence))
    }
  }

  /** The group was deleted under its members: it is made again, as the subscription described it. */
  #rejoin(member: Member, now: number): void {
    const { subscription, index, source } = member
    const { topic, group } = this.#groups.join(source, subscription.spec.group, now)
    const again = new Member(
      this.#groups.addMember(group.id, this.#presence.id, subscription.spec.member),
      subscription,
      index,
      source,
      group,
      topic,
    )
    this.#out.afterCommit(() => {
      subscription.members[index] = again
      this.#byTopic.get(member.topicId)?.delete(member)
      this.#byId.delete(member.id)
      this.#register(again)
    })
  }

  #join(subscription: Subscription, source: Source, now: number): void {
    const { topic, group } = this.#groups.join(source, subscription.spec.group, now)
    const member = new Member(
      this.#groups.addMember(group.id, this.#presence.id, subscription.spec.member),
      subscription,
      subscription.members.length,
      source,
      group,
      topic,
    )
    subscription.members.push(member)
    this.#register(member)
    this.#out.undo(() => {
      subscription.members.pop()
      this.#byTopic.get(member.topicId)?.delete(member)
      this.#byId.delete(member.id)
    })
  }

  #register(member: Member): void {
    const ofTopic = this.#byTopic.get(member.topicId)
    if (ofTopic) ofTopic.add(member)
    else this.#byTopic.set(member.topicId, new Set([member]))
    this.#byId.set(member.id, member)
  }

  /** Members of this process that share lanes or a group with this one may go on. */
  #wakeGroup(member: Member): void {
    for (const other of this.#byId.values()) {
      if (other.group.lanes !== member.group.lanes) continue
      other.maybe = true
      other.notBefore = 0
    }
  }

  #get(id: number): Subscription {
    const subscription = this.#all.get(id)
    if (!subscription) throw new BusError('closed', 'the subscription is closed')
    return subscription
  }
}

function hasCredit(subscription: Subscription): boolean {
  return !subscription.stopped && subscription.messages > 0 && (subscription.bytes > 0 || subscription.out === 0)
}

function forget(member: Member, fence: number): void {
  const claimed = member.hand.get(fence)
  if (!claimed) return
  member.subscription.out--
  if (--claimed.left === 0) member.hand.delete(fence)
}

/** The sequences of a claim; empty where they do not ascend (released messages come back in the order of their time). */
function ascending(rows: readonly MessageRow[]): number[] {
  const sequences = new Array<number>(rows.length)
  for (let i = 0; i < rows.length; i++) {
    sequences[i] = rows[i]![0]
    if (i > 0 && sequences[i]! < sequences[i - 1]!) return []
  }
  return sequences
}
