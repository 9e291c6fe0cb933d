import type { StatementSync } from 'node:sqlite'
import { BusError } from '../../../errors.ts'
import type { ReadFrom, Source } from '../../engine.ts'
import type { Database } from './database.ts'
import type { Topic, Topics } from './topics.ts'

/** What a group has in the table, and does not change while it exists. */
export interface Group {
  readonly id: number
  readonly lanes: number
  readonly filter: string | undefined
}

/** The rows of groups: makes them, finds them, and finds the place in a topic that a moment or a word means. */
export class Groups {
  readonly #topics: Topics
  readonly #find: StatementSync
  readonly #insert: StatementSync
  readonly #lanes: StatementSync
  readonly #insertLanes: StatementSync
  readonly #addMember: StatementSync
  readonly #own: StatementSync
  readonly #firstAfter: StatementSync

  constructor(db: Database, topics: Topics) {
    this.#topics = topics
    this.#find = db.rows('SELECT id, lanes, filter FROM grp WHERE topic=? AND name=?')
    this.#insert = db.prepare('INSERT INTO grp(topic, name, filter, lanes, cursor, fence, created_at) VALUES(?, ?, ?, ?, ?, ?, ?)')
    this.#lanes = db.rows('SELECT id FROM lanes WHERE name=?')
    this.#insertLanes = db.prepare('INSERT INTO lanes(name) VALUES(?)')
    this.#addMember = db.prepare('INSERT INTO member(owner, grp, process, name) VALUES(?, ?, ?, ?)')
    this.#own = db.prepare('UPDATE member SET owner=id WHERE id=?')
    this.#firstAfter = db.rows('SELECT seq, coalesce(stored_at, at) FROM message WHERE topic=? AND seq>? ORDER BY seq LIMIT 1')
  }

  find(topic: number, name: string): Group | undefined {
    const row = this.#find.get(topic, name) as unknown as [number, number, string | null] | undefined
    return row && { id: row[0], lanes: row[1], filter: row[2] ?? undefined }
  }

  /** @throws BusError `filter_conflict` */
  join(source: Source, name: string, now: number): { topic: Topic; group: Group } {
    const topic = this.#topics.place(source.storage, now)
    const filter = source.filter ?? (topic.name === source.storage ? undefined : source.storage)
    const found = this.find(topic.id, name)
    if (found) {
      if (found.filter !== filter) throw filterConflict(topic.name, filter, name, found.filter)
      return { topic, group: found }
    }
    const cursor = source.from === 'earliest' ? 0 : source.from === 'new' ? topic.lastSeq : this.placeOf(topic, source.from)
    const lanes = this.#laneId(`${source.lanes}\n${name}`)
    // The fence begins at the time: a group that was deleted and comes again does not begin below what it gave out before.
    const id = Number(this.#insert.run(topic.id, name, filter ?? null, lanes, cursor, now, now).lastInsertRowid)
    return { topic, group: { id, lanes, filter } }
  }

  /** `owner` undefined: the first source of a subscription. Returns the owner. */
  addMember(owner: number | undefined, group: number, process: number, name: string): number {
    const id = Number(this.#addMember.run(owner ?? 0, group, process, name).lastInsertRowid)
    if (owner === undefined) this.#own.run(id)
    return owner ?? id
  }

  /** The last sequence that does not belong to what `from` asks for. @throws BusError `invalid_argument` */
  placeOf(topic: Topic, from: ReadFrom): number {
    if (from === 'start') return 0
    if (from === 'end') return topic.lastSeq
    if (typeof from === 'string') {
      const sequence = Number(from)
      if (!Number.isSafeInteger(sequence) || sequence < 0)
        throw new BusError(
          'invalid_argument',
          `position ${JSON.stringify(from)} is not one of this store; use one that it gave, 'start', 'end' or a time`,
        )
      return sequence
    }
    // Times grow with sequences but for a clock that was set back; then the place is near enough.
    let low = 0
    let high = topic.lastSeq
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const row = this.#firstAfter.get(topic.id, middle) as unknown as [number, number] | undefined
      if (!row || row[1] >= from.timeMs) high = middle
      else low = row[0]
    }
    return low
  }

  #laneId(name: string): number {
    const found = this.#lanes.get(name) as unknown as [number] | undefined
    return found ? found[0] : Number(this.#insertLanes.run(name).lastInsertRowid)
  }
}

function filterConflict(storage: string, wanted: string | undefined, group: string, has: string | undefined): BusError {
  const say = (filter: string | undefined): string => (filter === undefined ? 'no filter' : `the filter '${filter}'`)
  return new BusError(
    'filter_conflict',
    `group '${group}' of topic '${storage}' has ${say(has)}, this member came with ${say(wanted)}; a group has one filter: use another group's name, the same filter, or delete the group first`,
  )
}
