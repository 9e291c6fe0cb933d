import type { BusError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Headers } from '../message/headers.ts'

/**
 * The contract between the core and a broker. The core owns retries, backoff, dead letters, order, leases, drain and
 * codecs; an engine only maps to its broker. Every declared capability has a positive test in the conformance suite,
 * every declared absence a test that the refusal is typed.
 */
export interface Engine {
  /** The folder's name and the one users read in status: `embedded`, `nats`, … */
  readonly name: string
  readonly capabilities: Capabilities
  /**
   * Stores a batch. Resolves once each message is stored as {@link Capabilities.durability} says, or is known not to
   * be. Outcomes stand in the order of the batch; one that fails never hides the others. Never throws for a message:
   * it rejects with `closed` or `engine_unavailable` only when nothing of the batch was sent.
   * `stored` is called, at most once for each, of messages that are known to be stored before all of the batch has an
   * outcome: whoever waits for one does not wait for those beside it.
   */
  publish(batch: readonly Outgoing[], signal?: AbortSignal, stored?: OnStored): Promise<PublishOutcome[]>
  /** The largest body of a message of this storage, where that is not {@link Capabilities.maxMessageBytes} for all. */
  maxBytesOf?(storage: StorageName): number
  /**
   * Joins a group, or makes it. Nothing is delivered before the first grant.
   * @throws BusError `filter_conflict` when the group exists with another filter, `unsupported` for an order it cannot keep
   */
  subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<EngineSubscription>
  /**
   * Reads stored messages without a group. `after` is a position (exclusive), `'start'`, `'end'`, or a time in ms.
   * @throws BusError `unsupported` where {@link Capabilities.history} is false, `not_found` for an unknown storage
   */
  read(storage: StorageName, after: ReadFrom, limit: number): Promise<Page>
  readonly admin: EngineAdmin
  readonly live?: Live
  readonly requests?: Requests
  readonly kv?: KeyValueStore
  /** Present where {@link Capabilities.ledger} is `'native'`. */
  readonly ledger?: Ledger
  /** Looks at the broker and at what is stored there as an operator would. Changes nothing; never rejects for what it finds. */
  diagnose?(): Promise<readonly Finding[]>
  /** Calls back on loss and return of the broker; the core shows it in health. Returns the way to stop. */
  onHealth(listener: (health: EngineHealth) => void): () => void
  /** Settles what was handed in, then lets go of everything. Twice is one close. */
  close(): Promise<void>
}

/** The unit of storage: a plain topic's name, or a definition's pattern (`docs.*.*`). */
export type StorageName = string
/** An engine's own place in a storage; opaque, comparable only by the engine. */
export type Position = string
export type ReadFrom = Position | 'start' | 'end' | { readonly timeMs: number }

export interface Capabilities {
  /** What a confirmed publish has survived. */
  readonly durability: 'none' | 'memory' | 'page-cache' | 'disk'
  /** Across which members order per key is kept: all of a group, one process, or none. */
  readonly ordering: 'group' | 'process' | 'none'
  /** Whether unconfirmed messages of one key keep their order, so that the way out needs no wait between them. */
  readonly orderedPipelining: boolean
  /** How long the same id is stored once; 0 = never. */
  readonly dedupeWindowMs: number
  /** The longest delay the engine keeps by itself; 0 = none, and the core schedules through the ledger. */
  readonly delayMaxMs: number
  /** `maxMs` = how long one delivery can be held at all by extending (Infinity where there is no cap); 0 = cannot extend. */
  readonly lease: { readonly maxMs: number }
  /** Whether single messages can be settled, or only all up to a position. */
  readonly settle: 'message' | 'position'
  /** Whether {@link Delivery.redelivered} can be trusted after a crash. Where it cannot, each run is written to the ledger as it begins. */
  readonly redelivered: boolean
  /** Who filters by pattern inside a storage. */
  readonly filter: 'broker' | 'client'
  /** Whether what every group has settled can be read again, as long as the broker keeps it. */
  readonly history: boolean
  /** Whether a purge can end at a position; else it takes all. */
  readonly purgeBefore: boolean
  readonly headers: boolean
  readonly maxMessageBytes: number
  /** `none`: what stores nothing needs none. */
  readonly ledger: 'native' | 'given' | 'none'
}

export interface Outgoing {
  readonly storage: StorageName
  /** The full name, `docs.7.added`; equal to `storage` for a plain topic. */
  readonly name: string
  readonly id: string
  readonly key: string | undefined
  readonly headers: Headers | undefined
  readonly body: Uint8Array
  /** When it was published, ms since the epoch. */
  readonly at: number
  /** When groups may see it, ms since the epoch; only within {@link Capabilities.delayMaxMs}. */
  readonly deliverAt: number | undefined
  /** The bus made the id for this message: it is no duplicate, unless an earlier try was stored. */
  readonly fresh?: boolean
}

export type PublishOutcome = Confirmed | { readonly ok: false; readonly error: BusError }
export interface Confirmed {
  readonly ok: true
  readonly position: Position | undefined
  readonly duplicate: boolean
}
/** `index`: of the message in its batch. */
export type OnStored = (index: number, outcome: Confirmed) => void

/** One storage a subscription reads. */
export interface Source {
  readonly storage: StorageName
  /** A pattern over full names; absent = everything. */
  readonly filter: string | undefined
  /** Sources with the same value share lanes: a key is handled in one place over all of them. */
  readonly lanes: string
  /** Where a group that does not exist yet begins. */
  readonly from: 'earliest' | 'new' | { readonly timeMs: number }
}

export interface SubscriptionSpec {
  readonly group: string
  readonly sources: readonly Source[]
  /** `key`: a key is never leased to two members at once, and never past an earlier unsettled message of that key. `topic`: all is one key. */
  readonly order: 'key' | 'topic' | 'none'
  readonly orderScope: 'group' | 'process'
  readonly leaseMs: number
  /** The name of this member in status; unique. */
  readonly member: string
}

export interface Delivery {
  /** The source's storage. */
  readonly storage: StorageName
  readonly name: string
  readonly id: string
  readonly key: string | undefined
  readonly headers: Headers | undefined
  readonly body: Uint8Array
  readonly at: number
  readonly position: Position
  /** Whether it may have been handed over before. */
  readonly redelivered: boolean
  /** Grows with each new owner of the message; where a key's order is kept over the group, of its key over all sources that share lanes. */
  readonly fence: number
  /** The partition, pin or owner it came through, where the engine has such. */
  readonly scope: string | undefined
}

export interface DeliverySink {
  /** Never more than was granted. Must not throw. */
  deliver(batch: readonly Delivery[]): void
  /** The lease of these is gone: their results must not be acknowledged. */
  lost(deliveries: readonly Delivery[], reason: string): void
  assigned(scope: string, epoch: number): void
  /**
   * Another member shall have the scope, and waits: the core gives back (`release`, no delay, as it is in the ledger until
   * when a message waits) all of it that no handler runs on, be it queued, parked or delayed, and lets what runs end. Nothing
   * more of it need come; something may, as the engine may go on with the scope while handlers take long. Called again
   * and again while the engine waits, for what failed meanwhile. Engines whose scopes move without asking do not call it.
   */
  leaving(scope: string): void
  /** Everything delivered under the scope is lost. */
  revoked(scope: string, epoch: number): void
  /** Something that whoever runs the bus should know, and that ends nothing. */
  warned(text: string): void
}

export type Settlement =
  | { readonly kind: 'ack'; readonly delivery: Delivery }
  /** Given back: to be delivered again, by anyone, after the delay. */
  | { readonly kind: 'release'; readonly delivery: Delivery; readonly delayMs: number }
  | { readonly kind: 'extend'; readonly delivery: Delivery; readonly leaseMs: number }

/** `confirmed` by the broker; `sent` where it never answers; `lost` when the delivery is somebody else's by now. */
export type SettleResult = 'confirmed' | 'sent' | 'lost'

export interface EngineSubscription {
  /** Adds credit: the engine may deliver so many more messages, and bytes, than it has. */
  grant(messages: number, bytes: number): void
  /**
   * Results in the order of the batch. Rejects with `engine_unavailable` when nothing is known, with `forbidden` when
   * this user may not settle something of it; the core tries again, until it is `lost`.
   */
  settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]>
  /** Why nothing comes from a storage, while that is so and the broker itself is there: the core shows it in status and health. */
  readonly trouble?: string | undefined
  /** Reads one more storage from now on. */
  add(source: Source): Promise<void>
  /** No new deliveries once it resolves; settling works until close. What was buffered and not delivered is given back. */
  stop(): Promise<void>
  /** Leaves the group (which stays). Whatever is still unsettled is given back. */
  close(): Promise<void>
}

export interface Stored {
  readonly storage: StorageName
  readonly name: string
  readonly id: string
  readonly key: string | undefined
  readonly headers: Headers | undefined
  readonly body: Uint8Array
  readonly at: number
  readonly position: Position
}

export interface Page {
  readonly messages: readonly Stored[]
  /** Where the next page begins. */
  readonly next: Position
}

export interface TopicInfo {
  readonly storage: StorageName
  readonly messages: number
  readonly bytes: number
  /** When the oldest one there was stored, ms. */
  readonly firstAt: number | undefined
  readonly lastAt: number | undefined
  readonly scheduled: number
}

export interface GroupInfo {
  readonly storage: StorageName
  readonly group: string
  readonly filter: string | undefined
  /** Messages that nobody of the group has settled, those in hand included. */
  readonly lag: number
  readonly inHand: number
  /** Given back and waiting for their time or their key. */
  readonly waiting: number
  readonly members: number
  /** Age of the oldest message not yet settled, ms. */
  readonly oldestMs: number | undefined
}

export interface Retention {
  readonly ageMs?: number | undefined
  readonly messages?: number | undefined
  readonly bytes?: number | undefined
}

export interface EngineAdmin {
  /** Makes the storage where it is missing and applies the retention given. */
  declare(storage: StorageName, retention?: Retention): Promise<void>
  /** Every storage, private ones of groups included. */
  topics(): Promise<TopicInfo[]>
  /** Calls with each storage name, those that exist first, then new ones as they appear. Returns the way to stop. */
  watchTopics(listener: (storage: StorageName) => void): () => void
  groups(storage: StorageName): Promise<GroupInfo[]>
  /** Moves a group. @throws BusError `conflict` while it has members, `not_found` */
  reset(storage: StorageName, group: string, to: ReadFrom): Promise<void>
  /** @throws BusError `conflict` while it has members (they would make it anew and begin again), `not_found` */
  deleteGroup(storage: StorageName, group: string): Promise<void>
  /**
   * Deletes stored messages, all of them or those before the position; returns how many.
   * @throws BusError `unsupported` for a position where {@link Capabilities.purgeBefore} is false
   */
  purge(storage: StorageName, before?: Position): Promise<number>
  /** With its groups. @throws BusError `conflict` while one of them has members; nothing is deleted then. `not_found` */
  deleteTopic(storage: StorageName): Promise<void>
}

/** At most once, to whoever listens, from now on. */
export interface Live {
  /**
   * Hands messages to whoever listens, and stores none. Resolves once the broker has them. Absent where all that is
   * published is stored.
   */
  publish?(batch: readonly Outgoing[]): Promise<PublishOutcome[]>
  /**
   * `pattern` is a name or a pattern over full names. `group`: one of its listeners gets a message, else each.
   * `storage`: where all that matches is stored, if that is one place; it may not be there yet.
   * @throws BusError `unsupported` for a group where {@link publish} is absent
   */
  subscribe(
    pattern: string,
    listener: (batch: readonly Stored[]) => void,
    group?: string,
    storage?: StorageName,
  ): Promise<{ close(): Promise<void> }>
}

export interface RequestMessage {
  readonly name: string
  readonly id: string
  readonly headers: Headers | undefined
  readonly body: Uint8Array
  readonly at: number
}

export type ReplyMessage = { readonly headers: Headers | undefined; readonly body: Uint8Array }

export interface Requests {
  /** @throws BusError `timeout`, `no_responders`, `aborted` */
  request(message: RequestMessage, timeoutMs: number, signal?: AbortSignal): Promise<ReplyMessage>
  /** All answers that come in time, at most `max`. Absent where the first one is all there is. @throws BusError `no_responders` */
  requestMany?(message: RequestMessage, timeoutMs: number, max: number, signal?: AbortSignal): AsyncIterable<ReplyMessage>
  /** One member of each group answers a request; the first answer counts. The listener never rejects. */
  respond(pattern: string, group: string, listener: (message: RequestMessage) => Promise<ReplyMessage>): Promise<{ close(): Promise<void> }>
}

export interface KvEntry {
  readonly key: string
  readonly value: Uint8Array
  /** Grows with each change in the bucket. */
  readonly revision: number
  readonly operation: 'put' | 'delete'
  readonly at: number
}

export interface KvOptions {
  /** How many revisions of a key are kept, 1 to 64. Default 1. */
  readonly history?: number
  /** Entries older than this are gone. Off by default. */
  readonly ttlMs?: number
}

export interface KeyValueStore {
  open(bucket: string, options: KvOptions): Promise<KvBucket>
}

export interface KvBucket {
  /** The newest entry, a deletion included; undefined where there never was one. */
  get(key: string): Promise<KvEntry | undefined>
  /** `expected`: 0 = must not exist, n = must stand at that revision, absent = whatever. @throws BusError `conflict` */
  put(key: string, value: Uint8Array, expected?: number): Promise<number>
  delete(key: string, expected?: number): Promise<number>
  /** Keys that exist and match the pattern. */
  keys(pattern: string): Promise<string[]>
  /** Oldest first. */
  history(key: string): Promise<KvEntry[]>
  /** Entries as they stand, then each change, until `stop`. `onReady` comes once what stands was sent. */
  watch(pattern: string, listener: (entries: readonly KvEntry[]) => void, onReady: () => void): Promise<{ close(): Promise<void> }>
}

export interface EngineHealth {
  readonly ok: boolean
  readonly detail: string
}

/** What was looked at, what it means, and what to do about it. */
export interface Finding {
  readonly check: string
  /** `note`: worth knowing. `warning`: will hurt one day. `problem`: hurts now. */
  readonly level: 'ok' | 'note' | 'warning' | 'problem'
  readonly detail: string
  readonly advice?: string
}
