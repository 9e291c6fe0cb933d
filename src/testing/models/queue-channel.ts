import type { QueueMember } from './queue-member.ts'

export interface QueueMessage {
  readonly id: string
  readonly body: Uint8Array
  readonly at: number
}

/** A channel's copy of a message. */
export interface Entry {
  readonly message: QueueMessage
  /** How often it was pushed to a member. */
  attempts: number
}

/** An entry that a member has, from the push on. */
export interface Flight {
  readonly entry: Entry
  readonly member: QueueMember
  readonly fence: number
  /** However often it is extended. */
  readonly until: number
  timer: NodeJS.Timeout | undefined
}

/** How long an engine buffers what it has no credit for; then it gives it back, for another member may be idle. */
const bufferedMs = 1000
/** Longer timeouts overflow into 1 ms. */
const longestTimerMs = 2 ** 31 - 1

/** One group on one topic: its own copy of each message since it was made. */
export class Channel {
  readonly group: string
  readonly storage: string
  readonly members: QueueMember[] = []
  readonly flights = new Map<string, Flight>()
  readonly #maxLeaseMs: number
  #ready: Entry[] = []
  readonly #deferred = new Map<Entry, NodeJS.Timeout>()
  #turn = 0

  constructor(group: string, storage: string, maxLeaseMs: number) {
    this.group = group
    this.storage = storage
    this.#maxLeaseMs = maxLeaseMs
  }

  get depth(): { ready: number; deferred: number; inHand: number } {
    return { ready: this.#ready.length, deferred: this.#deferred.size, inHand: this.flights.size }
  }

  /** Published with a delay and never due yet. */
  get scheduled(): number {
    let count = 0
    for (const { attempts } of this.#deferred.keys()) if (attempts === 0) count++
    return count
  }

  get oldestAt(): number | undefined {
    let oldest = Infinity
    for (const { message } of this.entries()) oldest = Math.min(oldest, message.at)
    return oldest === Infinity ? undefined : oldest
  }

  *entries(): Iterable<Entry> {
    yield* this.#ready
    yield* this.#deferred.keys()
    for (const { entry } of this.flights.values()) yield entry
  }

  put(message: QueueMessage, readyAt: number): void {
    this.#defer({ message, attempts: 0 }, readyAt - Date.now())
  }

  /** Drops what waits and returns it; what is in hand stays so. */
  empty(): QueueMessage[] {
    const dropped = [...this.#ready, ...this.#deferred.keys()].map(({ message }) => message)
    for (const timer of this.#deferred.values()) clearTimeout(timer)
    this.#deferred.clear()
    this.#ready = []
    return dropped
  }

  /** Pushes to the members in turn, as much as each asks for. */
  push(): void {
    let refused = 0
    while (this.#ready.length > 0 && refused < this.members.length) {
      const member = this.members[this.#turn++ % this.members.length]!
      if (member.room < 1) {
        refused++
        continue
      }
      refused = 0
      const entry = this.#ready.shift()!
      entry.attempts++
      const flight: Flight = { entry, member, fence: entry.attempts, until: Date.now() + this.#maxLeaseMs, timer: undefined }
      this.flights.set(entry.message.id, flight)
      this.#arm(flight, Math.min(bufferedMs, member.leaseMs))
      member.receive(this, flight)
    }
  }

  /** The flight, if it is still the member's. */
  find(member: QueueMember, id: string, fence: number): Flight | undefined {
    const flight = this.flights.get(id)
    return flight?.member === member && flight.fence === fence ? flight : undefined
  }

  finish(flight: Flight): void {
    clearTimeout(flight.timer)
    this.flights.delete(flight.entry.message.id)
  }

  requeue(flight: Flight, delayMs: number): void {
    this.finish(flight)
    this.#defer(flight.entry, delayMs)
  }

  touch(flight: Flight, leaseMs: number): void {
    this.#arm(flight, leaseMs)
  }

  /** Its members are gone, and what they had with them. */
  delete(): void {
    this.empty()
    for (const flight of [...this.flights.values()]) this.finish(flight)
  }

  /** The connection is gone: what the member had goes back. */
  drop(member: QueueMember): void {
    const i = this.members.indexOf(member)
    if (i >= 0) this.members.splice(i, 1)
    for (const flight of [...this.flights.values()]) if (flight.member === member) this.requeue(flight, 0)
  }

  #arm(flight: Flight, leaseMs: number): void {
    clearTimeout(flight.timer)
    flight.timer = setTimeout(() => this.#expire(flight), Math.min(longestTimerMs, leaseMs, flight.until - Date.now())).unref()
  }

  #expire(flight: Flight): void {
    flight.member.expired(flight)
    this.requeue(flight, 0)
  }

  #defer(entry: Entry, delayMs: number): void {
    if (delayMs > 0) {
      const timer = setTimeout(() => {
        this.#deferred.delete(entry)
        this.#ready.push(entry)
        this.push()
        // A timer counts in another clock, and may be a millisecond early.
      }, delayMs + 1).unref()
      this.#deferred.set(entry, timer)
      return
    }
    this.#ready.push(entry)
    this.push()
  }
}
