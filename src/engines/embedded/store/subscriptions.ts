import { BusError } from '../../../errors.ts'
import type { Source, SubscriptionSpec } from '../../engine.ts'
import { buffersOf, type MessageRow, packRows } from '../columns.ts'
import { settleFields, settleKind } from '../protocol.ts'
import type { Changes } from './changes.ts'
import type { Claiming } from './claiming.ts'
import type { Groups } from './groups.ts'
import { Member, type Subscription } from './member.ts'
import type { Outbox } from './outbox.ts'
import type { Presence } from './presence.ts'
import type { Settling } from './settling.ts'
import type { Undertaker } from './undertaker.ts'

/** How soon leases of others are looked at again, at most. */
const expiryLookMs = 50
/** How often to see whether the holders of leases live. */
const holderLookMs = 1000
/** How soon a claim that found everything blocked is repeated when another process wrote. */
const blockedLookMs = 5

/** The subscriptions of this process: which of them may have something to claim, and what they hold. */
export class Subscriptions {
  readonly #groups: Groups
  readonly #claiming: Claiming
  readonly #settling: Settling
  readonly #out: Outbox
  readonly #presence: Presence
  readonly #changes: Changes
  readonly #undertaker: Undertaker
  readonly #all = new Map<number, Subscription>()
  readonly #byTopic = new Map<number, Set<Member>>()
  readonly #members = new Set<Member>()

  constructor(
    groups: Groups,
    claiming: Claiming,
    settling: Settling,
    out: Outbox,
    presence: Presence,
    changes: Changes,
    undertaker: Undertaker,
  ) {
    this.#groups = groups
    this.#claiming = claiming
    this.#settling = settling
    this.#out = out
    this.#presence = presence
    this.#changes = changes
    this.#undertaker = undertaker
  }

  open(id: number, spec: SubscriptionSpec, now: number): void {
    const subscription: Subscription = { id, owner: undefined, spec, members: [], messages: 0, bytes: 0, out: 0, stopped: false, turn: 0 }
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
      this.#settling.returnAll(member.group.id, member.owner)
    }
    if (subscription.owner !== undefined) this.#settling.forgetMember(subscription.owner)
    this.#out.afterCommit(() => {
      this.#all.delete(id)
      const groups = new Set<number>()
      const lanes = new Set<number>()
      for (const member of subscription.members) {
        this.#byTopic.get(member.topicId)?.delete(member)
        this.#members.delete(member)
        groups.add(member.group.id)
        lanes.add(member.group.lanes)
      }
      this.#wake(groups, lanes)
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
    const lost = this.#settling.settle(members, rows, now)
    this.#out.afterCommit(() => {
      const late = new Set(lost)
      const released = new Set<number>()
      const freed = new Set<number>()
      for (let i = 0; i * settleFields < rows.length; i++) {
        const at = i * settleFields
        const member = members[rows[at]!]!
        const kind = rows[at + 1]!
        if (kind === settleKind.extend && !late.has(i)) continue
        forget(member, rows[at + 3]!)
        if (member.laned) freed.add(member.group.lanes)
        if (kind === settleKind.release) released.add(member.group.id)
      }
      for (const member of members) member.starved = false
      if (released.size > 0 || freed.size > 0) this.#wake(released, freed)
    })
    return lost
  }

  wakeTopics(topics: Iterable<number>): void {
    for (const topic of topics) for (const member of this.#byTopic.get(topic) ?? []) member.maybe = true
  }

  /** Another process wrote: looks for the topics and groups that it may have touched. */
  wakeForeign(now: number): void {
    if (this.#members.size === 0) return
    this.wakeTopics(this.#changes.topics())
    const waiting = this.#changes.groupsWaiting()
    const leased = this.#changes.groupsLeased()
    for (const member of this.#members) {
      if (member.blocked || waiting.has(member.group.id)) member.maybe = true
      if (leased.has(member.group.id)) member.expiryAt = Math.min(member.expiryAt, now + expiryLookMs)
    }
  }

  /** Times of the old clock would be waited for as long as it was set back. */
  clockSetBack(): void {
    for (const member of this.#members) {
      member.expiryAt = 0
      member.dueAt = 0
    }
    this.wakeAll()
  }

  /** Leases were given back by somebody who is no member. */
  wakeAll(): void {
    for (const member of this.#members) {
      member.maybe = true
      member.notBefore = 0
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

  /** In a transaction: gives back what dead processes held. */
  bury(): void {
    if (this.#undertaker.bury()) this.wakeAll()
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
    for (const other of this.#siblings(member))
      other.expiryAt = Math.min(other.expiryAt, now + Math.min(holderLookMs, subscription.spec.leaseMs))
    const columns = packRows(rows, member.topicName, claim.redelivered)
    this.#out.push({ op: 'deliver', subscription: subscription.id, source: member.index, fence, columns }, buffersOf(columns))
  }

  #lookForExpired(member: Member, now: number): boolean {
    const next = this.#settling.nextExpiry(member)
    member.expiryAt = lookAgainAt(next, now)
    // Somebody else holds leases: is he still there?
    if (next !== Number.POSITIVE_INFINITY && this.#undertaker.look(now)) return true
    if (next > now) return false
    member.expiryAt = now
    return true
  }

  #takeExpired(member: Member, now: number): void {
    const taken = this.#settling.expire(member, now)
    member.expiryAt = lookAgainAt(this.#settling.nextExpiry(member), now)
    if (taken.length === 0) return
    member.maybe = true
    member.notBefore = 0
    this.#out.undo(() => {
      member.expiryAt = 0
    })
    for (const { seq, fence, owner } of taken) {
      const loser = this.#find(member, owner)
      if (!loser) continue
      this.#out.push({ op: 'lost', subscription: loser.subscription.id, source: loser.index, fence, sequences: [seq] })
      this.#out.afterCommit(() => forget(loser, fence))
    }
  }

  #find(member: Member, owner: number): Member | undefined {
    for (const other of this.#siblings(member)) if (other.subscription.owner === owner) return other
    return undefined
  }

  /** The other members of the same group in this process. */
  *#siblings(member: Member): Iterable<Member> {
    for (const other of this.#byTopic.get(member.topicId) ?? []) if (other !== member && other.group.id === member.group.id) yield other
  }

  /** The group was deleted under its members: it is made again, as the subscription described it. */
  #rejoin(member: Member, now: number): void {
    const { subscription, index, source } = member
    const { topic, group } = this.#groups.join(source, subscription.spec.group, now)
    this.#groups.addMember(subscription.owner, group.id, this.#presence.id, subscription.spec.member)
    const again = new Member(subscription, index, source, group, topic)
    this.#out.afterCommit(() => {
      subscription.members[index] = again
      this.#byTopic.get(member.topicId)?.delete(member)
      this.#members.delete(member)
      this.#register(again)
    })
  }

  #join(subscription: Subscription, source: Source, now: number): void {
    const { topic, group } = this.#groups.join(source, subscription.spec.group, now)
    const before = subscription.owner
    subscription.owner = this.#groups.addMember(before, group.id, this.#presence.id, subscription.spec.member)
    const member = new Member(subscription, subscription.members.length, source, group, topic)
    subscription.members.push(member)
    this.#register(member)
    this.#out.undo(() => {
      subscription.members.pop()
      subscription.owner = before
      this.#byTopic.get(member.topicId)?.delete(member)
      this.#members.delete(member)
    })
  }

  #register(member: Member): void {
    const ofTopic = this.#byTopic.get(member.topicId)
    if (ofTopic) ofTopic.add(member)
    else this.#byTopic.set(member.topicId, new Set([member]))
    this.#members.add(member)
  }

  /** Members of this process may go on: those of groups that got something back, and those that found a lane taken which may be free. */
  #wake(groups: ReadonlySet<number>, lanes: ReadonlySet<number>): void {
    for (const member of this.#members) {
      if (!groups.has(member.group.id) && !(member.blocked && lanes.has(member.group.lanes))) continue
      member.maybe = true
      member.notBefore = 0
    }
  }

  #get(id: number): Subscription {
    const subscription = this.#all.get(id)
    if (!subscription) throw new BusError('closed', 'the subscription is closed')
    return subscription
  }
}

/** Leases of others may be extended, given back, or their holder may die: looked at again when they end or after a while. */
function lookAgainAt(next: number, now: number): number {
  return next === Number.POSITIVE_INFINITY ? next : Math.max(now + expiryLookMs, Math.min(next, now + holderLookMs))
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
