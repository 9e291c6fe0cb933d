import type { MessagePort } from 'node:worker_threads'
import type { BusErrorCode } from '../../errors.ts'
import type { LedgerEntry, LedgerRecord, LedgerSpace } from '../../ledger/ledger.ts'
import type {
  GroupInfo,
  KvEntry,
  KvOptions,
  ReadFrom,
  ReplyMessage,
  RequestMessage,
  Retention,
  Source,
  SubscriptionSpec,
  TopicInfo,
} from '../engine.ts'
import type { Columns } from './columns.ts'

/** What the thread of the store is started with. */
export interface WorkerStart {
  readonly port: MessagePort
  /** [0] counts what was posted, and is what the thread sleeps on; [1] is how many bytes for listeners are on their way. */
  readonly flag: Int32Array
  /** Undefined: a store in memory. */
  readonly dir: string | undefined
  readonly dedupeWindowMs: number
  readonly historyMs: number
  readonly maxBytes: number
  /** How often to look for what other processes wrote, beneath the bell. */
  readonly pollMs: number
}

/** The file whose change tells other processes of a commit. */
export const bellName = 'bell'

/** Listeners grant no credit: so much may be on its way to them ({@link liveBytes}), the rest stays in the store until it was taken. */
export const liveMost = 8 * 1024 * 1024

/** What a batch for a listener weighs: small bodies cost more than their bytes. */
export function liveBytes({ bodies, count }: Columns): number {
  return bodies.byteLength + 256 * count
}

/** Numbers of one settlement, in this order, in {@link Command} `settle`. */
export const settleFields = 5
export const settleKind = { ack: 0, release: 1, extend: 2 } as const

export type Command =
  | { readonly op: 'publish'; readonly call: number; readonly columns: Columns }
  | { readonly op: 'grant'; readonly subscription: number; readonly messages: number; readonly bytes: number }
  /** `rows`: source, kind, sequence, fence, delay or lease in ms; {@link settleFields} numbers each. */
  | { readonly op: 'settle'; readonly call: number; readonly subscription: number; readonly rows: Float64Array }
  | { readonly op: 'call'; readonly call: number; readonly name: keyof Calls; readonly args: readonly unknown[] }

export type Reply =
  | { readonly op: 'ready' }
  | { readonly op: 'failed'; readonly call: number; readonly code: BusErrorCode; readonly message: string }
  | { readonly op: 'done'; readonly call: number; readonly value: unknown }
  /** `positions` 0 where a message failed or is scheduled; `errors` and `duplicates` hold indexes. */
  | {
      readonly op: 'published'
      readonly call: number
      readonly positions: Float64Array
      readonly duplicates: readonly number[]
      readonly errors: readonly { readonly index: number; readonly code: BusErrorCode; readonly message: string }[]
    }
  /** `lost`: the indexes of settlements that came too late. */
  | { readonly op: 'settled'; readonly call: number; readonly lost: readonly number[] }
  | { readonly op: 'deliver'; readonly subscription: number; readonly source: number; readonly fence: number; readonly columns: Columns }
  | {
      readonly op: 'lost'
      readonly subscription: number
      readonly source: number
      readonly fence: number
      readonly sequences: readonly number[]
    }
  | { readonly op: 'live'; readonly listener: number; readonly columns: Columns }
  | { readonly op: 'records'; readonly changes: readonly { readonly space: LedgerSpace; readonly key: string }[] }
  | { readonly op: 'kv'; readonly watch: number; readonly entries: readonly KvEntry[]; readonly ready: boolean }
  | { readonly op: 'question'; readonly responder: number; readonly question: number; readonly message: RequestMessage }
  | { readonly op: 'answer'; readonly question: number; readonly reply: ReplyMessage }
  | { readonly op: 'topic'; readonly storages: readonly string[] }
  /** `forGood`: nothing more comes from the store, whatever happens. */
  | { readonly op: 'health'; readonly ok: boolean; readonly detail: string; readonly forGood: boolean }

/** What can be asked of the thread besides the hot path: name, arguments, answer. */
export interface Calls {
  subscribe(subscription: number, spec: SubscriptionSpec): void
  addSource(subscription: number, source: Source): void
  stop(subscription: number): void
  leave(subscription: number): void
  read(storage: string, after: ReadFrom, limit: number): { columns: Columns; next: string }
  declare(storage: string, retention: Retention | undefined): void
  topics(): TopicInfo[]
  watchTopics(on: boolean): string[]
  groups(storage: string): GroupInfo[]
  reset(storage: string, group: string, to: ReadFrom): void
  deleteGroup(storage: string, group: string): void
  /** A chunk: `upTo` is what the first call returned. */
  purge(storage: string, before: string | undefined, upTo: number | undefined): { deleted: number; upTo: number }
  /** Refuses while a group of the topic has members. */
  checkIdle(storage: string): void
  deleteTopic(storage: string): void
  ledgerWrite(records: readonly LedgerRecord[]): void
  /** The same without waiting for the disk. */
  ledgerNote(records: readonly LedgerRecord[]): void
  ledgerRead(space: LedgerSpace, keys: readonly string[]): (Uint8Array | undefined)[]
  ledgerList(space: LedgerSpace, prefix: string, after: string | undefined, limit: number): LedgerEntry[]
  ledgerKeys(space: LedgerSpace, prefix: string, after: string | undefined, limit: number): string[]
  ledgerCount(space: LedgerSpace, prefix: string): number
  ledgerWatch(on: boolean): void
  kvOpen(bucket: string, options: KvOptions): number
  kvGet(bucket: number, key: string): KvEntry | undefined
  kvPut(bucket: number, key: string, value: Uint8Array, expected: number | undefined): number
  kvDelete(bucket: number, key: string, expected: number | undefined): number
  kvKeys(bucket: number, pattern: string): string[]
  kvHistory(bucket: number, key: string): KvEntry[]
  kvWatch(watch: number, bucket: number, pattern: string): void
  kvUnwatch(watch: number): void
  listen(listener: number, pattern: string): void
  unlisten(listener: number): void
  ask(message: RequestMessage, timeoutMs: number): number
  withdraw(question: number): void
  respond(responder: number, pattern: string, group: string): void
  unrespond(responder: number): void
  answer(responder: number, question: number, reply: ReplyMessage): void
  close(): void
}
