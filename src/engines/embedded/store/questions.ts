import type { StatementSync } from 'node:sqlite'
import { BusError } from '../../../errors.ts'
import { matcher } from '../../../topic/pattern.ts'
import type { ReplyMessage, RequestMessage } from '../../engine.ts'
import { blob } from './blob.ts'
import type { Database } from './database.ts'
import type { Outbox } from './outbox.ts'
import type { Presence } from './presence.ts'

/** An asker that died leaves its question this long after nobody waits for it. */
const staleMs = 60_000

interface Responder {
  readonly id: number
  /** Its row. */
  readonly row: number
  readonly pattern: string
  readonly matches: (name: string) => boolean
  readonly group: string
}

type QuestionRow = [id: number, name: string, messageId: string, at: number, headers: string | null, body: Uint8Array]

/** Questions and answers between processes: a row each, gone as soon as the answer was fetched. */
export class Questions {
  readonly #out: Outbox
  readonly #presence: Presence
  readonly #responders = new Map<number, Responder>()
  /** Asked here and not answered yet: question to the call that waits. */
  readonly #asked = new Map<number, number>()
  readonly #patterns: StatementSync
  readonly #ask: StatementSync
  readonly #open: StatementSync
  readonly #take: StatementSync
  readonly #exists: StatementSync
  readonly #answer: StatementSync
  readonly #reply: StatementSync
  readonly #forget: readonly StatementSync[]
  readonly #add: StatementSync
  readonly #remove: StatementSync
  readonly #stale: StatementSync
  #seen = 0

  constructor(db: Database, out: Outbox, presence: Presence) {
    this.#out = out
    this.#presence = presence
    this.#patterns = db.rows('SELECT pattern, process FROM responder')
    this.#ask = db.prepare('INSERT INTO question(process, name, message_id, at, headers, body, until) VALUES(?, ?, ?, ?, ?, ?, ?)')
    this.#open = db.rows('SELECT id, name, message_id, at, headers, body FROM question WHERE id>? AND until>? ORDER BY id')
    this.#take = db.prepare('INSERT OR IGNORE INTO question_taken(question, grp, responder) VALUES(?, ?, ?)')
    this.#exists = db.rows('SELECT 1 FROM question WHERE id=?')
    this.#answer = db.prepare('INSERT OR IGNORE INTO reply(question, headers, body) VALUES(?, ?, ?)')
    this.#reply = db.rows('SELECT headers, body FROM reply WHERE question=?')
    this.#forget = ['question WHERE id', 'question_taken WHERE question', 'reply WHERE question'].map((what) =>
      db.prepare(`DELETE FROM ${what}=?`),
    )
    this.#add = db.prepare('INSERT INTO responder(process, pattern, grp) VALUES(?, ?, ?)')
    this.#remove = db.prepare('DELETE FROM responder WHERE id=?')
    this.#stale = db.rows('SELECT id FROM question WHERE until<? LIMIT 100')
  }

  /** @throws BusError `no_responders` */
  ask(message: RequestMessage, timeoutMs: number, now: number): number {
    const rows = this.#patterns.all() as unknown as [string, number][]
    if (!rows.some(([pattern, process]) => matcher(pattern)(message.name) && this.#presence.lives(process, now)))
      throw new BusError('no_responders', `nobody answers '${message.name}'; start a responder for it, then ask again`)
    const headers = message.headers === undefined ? null : JSON.stringify(message.headers)
    const id = Number(
      this.#ask.run(this.#presence.id, message.name, message.id, message.at, headers, blob(message.body), now + timeoutMs).lastInsertRowid,
    )
    this.#asked.set(id, id)
    this.#out.undo(() => this.#asked.delete(id))
    return id
  }

  withdraw(question: number): void {
    this.#asked.delete(question)
    this.#drop(question)
  }

  respond(id: number, pattern: string, group: string): void {
    const row = Number(this.#add.run(this.#presence.id, pattern, group).lastInsertRowid)
    this.#responders.set(id, { id, row, pattern, matches: matcher(pattern), group })
    this.#out.undo(() => this.#responders.delete(id))
  }

  unrespond(id: number): void {
    const responder = this.#responders.get(id)
    if (!responder) return
    this.#remove.run(responder.row)
    this.#responders.delete(id)
  }

  answer(_responder: number, question: number, reply: ReplyMessage): void {
    // Nobody waits for it any more: a row would stay for ever.
    if (this.#exists.get(question) === undefined) return
    this.#answer.run(question, reply.headers === undefined ? null : JSON.stringify(reply.headers), blob(reply.body))
  }

  leave(): void {
    for (const id of [...this.#responders.keys()]) this.unrespond(id)
    for (const id of [...this.#asked.keys()]) this.withdraw(id)
  }

  /** Looks only: whether {@link work} would find something. */
  hasWork(now: number): boolean {
    for (const id of this.#asked.keys()) if (this.#reply.get(id) !== undefined) return true
    if (this.#responders.size === 0) return false
    return (this.#open.all(this.#seen, now) as unknown as QuestionRow[]).some((row) => this.#matching(row[1]).length > 0)
  }

  /** In a transaction: takes questions for the responders here, and fetches answers for the askers here. */
  work(now: number): void {
    if (this.#responders.size > 0) this.#takeOpen(now)
    for (const id of this.#asked.keys()) {
      const row = this.#reply.get(id) as unknown as [string | null, Uint8Array] | undefined
      if (!row) continue
      this.#drop(id)
      this.#out.push({ op: 'answer', question: id, reply: { headers: row[0] === null ? undefined : JSON.parse(row[0]), body: row[1] } })
      this.#out.afterCommit(() => this.#asked.delete(id))
    }
  }

  get idle(): boolean {
    return this.#asked.size === 0 && this.#responders.size === 0
  }

  /** A responder died: what it had taken may be taken again. */
  lookAgain(): void {
    this.#seen = 0
  }

  sweep(now: number): void {
    for (const [id] of this.#stale.all(now - staleMs) as unknown as [number][]) this.#drop(id)
  }

  #takeOpen(now: number): void {
    const seen = this.#seen
    for (const [id, name, messageId, at, headers, body] of this.#open.all(seen, now) as unknown as QuestionRow[]) {
      this.#seen = id
      for (const responder of this.#matching(name)) {
        if (this.#take.run(id, responder.group, responder.row).changes === 0) continue
        this.#out.push({
          op: 'question',
          responder: responder.id,
          question: id,
          message: { name, id: messageId, at, headers: headers === null ? undefined : JSON.parse(headers), body },
        })
      }
    }
    if (seen !== this.#seen) {
      this.#out.undo(() => {
        this.#seen = seen
      })
    }
  }

  /** One responder a group, a different one each time. */
  #matching(name: string): Responder[] {
    const byGroup = new Map<string, Responder[]>()
    for (const responder of this.#responders.values()) {
      if (!responder.matches(name)) continue
      const list = byGroup.get(responder.group)
      if (list) list.push(responder)
      else byGroup.set(responder.group, [responder])
    }
    return [...byGroup.values()].map((list) => list[Math.floor(Math.random() * list.length)]!)
  }

  #drop(question: number): void {
    for (const statement of this.#forget) statement.run(question)
  }
}
