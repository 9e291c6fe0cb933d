import type { LedgerRecord, LedgerSpace } from '../../../ledger/ledger.ts'
import type { Calls, WorkerStart } from '../protocol.ts'
import { Changes } from './changes.ts'
import { Claiming } from './claiming.ts'
import { Database } from './database.ts'
import { Desk } from './desk.ts'
import { Groups } from './groups.ts'
import { KeyValues } from './key-values.ts'
import { Live } from './live.ts'
import { Outbox } from './outbox.ts'
import { Presence } from './presence.ts'
import { Publishing } from './publishing.ts'
import { Questions } from './questions.ts'
import { Records } from './records.ts'
import { Retention } from './retention.ts'
import { Settling } from './settling.ts'
import { Subscriptions } from './subscriptions.ts'
import { Topics } from './topics.ts'
import { Undertaker } from './undertaker.ts'

/**
 * How a call runs. `read`: without a transaction. `light`: in one whose commit need not wait for the disk. `durable`: in one
 * that does. `alone`: in one by itself, since it may refuse after it has written something.
 */
export type Mode = 'read' | 'light' | 'durable' | 'alone'

export interface Call {
  readonly mode: Mode
  run(args: readonly unknown[], now: number): unknown
}

/** All parts of the store on one connection. */
export class Store {
  readonly db: Database
  readonly out: Outbox
  readonly topics: Topics
  readonly publishing: Publishing
  readonly subscriptions: Subscriptions
  readonly records: Records
  readonly desk: Desk
  readonly keyValues: KeyValues
  readonly live: Live
  readonly questions: Questions
  readonly retention: Retention
  readonly presence: Presence
  readonly undertaker: Undertaker
  readonly calls: Readonly<Record<Exclude<keyof Calls, 'close'>, Call>>

  constructor(start: WorkerStart, now: number) {
    const db = new Database(start.dir)
    this.db = db
    this.out = new Outbox(start.port)
    this.topics = new Topics(db)
    this.presence = new Presence(db, start.dir, now)
    this.retention = new Retention(db, this.topics, start.historyMs, start.dedupeWindowMs)
    this.publishing = new Publishing(db, this.topics, start.maxBytes, this.retention)
    this.publishing.readNextDue()
    const groups = new Groups(db, this.topics)
    const settling = new Settling(db)
    this.undertaker = new Undertaker(this.presence, settling, this.out)
    this.subscriptions = new Subscriptions(
      groups,
      new Claiming(db, this.topics),
      settling,
      this.out,
      this.presence,
      new Changes(db),
      this.undertaker,
    )
    this.records = new Records(db, this.out)
    this.desk = new Desk(db, this.topics, groups, this.presence, this.retention, this.out)
    this.keyValues = new KeyValues(db, this.out)
    this.live = new Live(db, this.out, start.flag)
    this.questions = new Questions(db, this.out, this.presence)
    this.calls = this.#table()
  }

  /** After a commit of this process or another: tells listeners what is new. */
  tell(now: number): void {
    this.desk.tell()
    this.records.tell()
    this.keyValues.tell(now)
    this.live.tell()
  }

  /** What was kept in memory of the tables may be stale. */
  forget(): void {
    this.topics.forget()
  }

  #table(): Record<Exclude<keyof Calls, 'close'>, Call> {
    const { subscriptions, desk, records, keyValues, live, questions } = this
    const table: { [Name in Exclude<keyof Calls, 'close'>]: { mode: Mode; run(args: Parameters<Calls[Name]>, now: number): unknown } } = {
      subscribe: { mode: 'alone', run: ([id, spec], now) => subscriptions.open(id, spec, now) },
      addSource: { mode: 'alone', run: ([id, source], now) => subscriptions.add(id, source, now) },
      stop: { mode: 'read', run: ([id]) => subscriptions.stop(id) },
      leave: { mode: 'light', run: ([id]) => subscriptions.leave(id) },
      read: {
        mode: 'read',
        run: ([storage, after, limit]) => desk.read(storage, after, limit),
      },
      declare: { mode: 'durable', run: ([storage, retention], now) => desk.declare(storage, retention, now) },
      topics: { mode: 'read', run: () => desk.topics() },
      watchTopics: { mode: 'read', run: ([on]) => desk.watchTopics(on) },
      groups: { mode: 'read', run: ([storage], now) => desk.groups(storage, now) },
      reset: { mode: 'alone', run: ([storage, group, to], now) => desk.reset(storage, group, to, now) },
      deleteGroup: { mode: 'alone', run: ([storage, group], now) => desk.deleteGroup(storage, group, now) },
      purge: { mode: 'light', run: ([storage, before, upTo], now) => desk.purge(storage, before, upTo, now) },
      checkIdle: { mode: 'read', run: ([storage], now) => desk.checkIdle(storage, now) },
      deleteTopic: { mode: 'alone', run: ([storage], now) => desk.deleteTopic(storage, now) },
      ledgerWrite: { mode: 'durable', run: ([list], now) => records.write(list as readonly LedgerRecord[], now) },
      ledgerNote: { mode: 'light', run: ([list], now) => records.write(list as readonly LedgerRecord[], now) },
      ledgerRead: { mode: 'read', run: ([space, keys]) => records.read(space as LedgerSpace, keys) },
      ledgerList: { mode: 'read', run: ([space, prefix, after, limit]) => records.list(space, prefix, after, limit) },
      ledgerKeys: { mode: 'read', run: ([space, prefix, after, limit]) => records.keys(space, prefix, after, limit) },
      ledgerCount: { mode: 'read', run: ([space, prefix]) => records.count(space, prefix) },
      ledgerWatch: { mode: 'read', run: ([on]) => records.watch(on) },
      kvOpen: { mode: 'durable', run: ([bucket, options]) => keyValues.open(bucket, options) },
      kvGet: { mode: 'read', run: ([bucket, key], now) => keyValues.get(bucket, key, now) },
      kvPut: { mode: 'durable', run: ([bucket, key, value, expected], now) => keyValues.put(bucket, key, value, expected, now) },
      kvDelete: { mode: 'durable', run: ([bucket, key, expected], now) => keyValues.put(bucket, key, undefined, expected, now) },
      kvKeys: { mode: 'read', run: ([bucket, pattern], now) => keyValues.keys(bucket, pattern, now) },
      kvHistory: { mode: 'read', run: ([bucket, key], now) => keyValues.history(bucket, key, now) },
      kvWatch: { mode: 'read', run: ([watch, bucket, pattern], now) => keyValues.watch(watch, bucket, pattern, now) },
      kvUnwatch: { mode: 'read', run: ([watch]) => keyValues.unwatch(watch) },
      listen: { mode: 'read', run: ([listener, pattern]) => live.listen(listener, pattern) },
      unlisten: { mode: 'read', run: ([listener]) => live.unlisten(listener) },
      ask: { mode: 'light', run: ([message, timeoutMs], now) => questions.ask(message, timeoutMs, now) },
      withdraw: { mode: 'light', run: ([question]) => questions.withdraw(question) },
      respond: { mode: 'light', run: ([responder, pattern, group]) => questions.respond(responder, pattern, group) },
      unrespond: { mode: 'light', run: ([responder]) => questions.unrespond(responder) },
      answer: { mode: 'light', run: ([responder, question, reply]) => questions.answer(responder, question, reply) },
    }
    return table as unknown as Record<Exclude<keyof Calls, 'close'>, Call>
  }

  /** Gives back everything this process holds. */
  leave(): void {
    this.subscriptions.leaveAll()
    this.questions.leave()
    this.presence.forget(this.presence.id)
  }
}
