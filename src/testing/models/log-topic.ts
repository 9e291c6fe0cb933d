import type { Outgoing, Position, ReadFrom, Retention, Stored } from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'

export interface LogRecord extends Omit<Stored, 'position'> {
  readonly partition: number
  readonly offset: number
}

/** Records with offsets that never come again; those before `base` are gone. */
export class Partition {
  base = 0
  bytes = 0
  records: LogRecord[] = []

  get end(): number {
    return this.base + this.records.length
  }

  at(offset: number): LogRecord | undefined {
    return this.records[offset - this.base]
  }

  /** The first offset that is not older than the time. */
  since(timeMs: number): number {
    const i = this.records.findIndex(({ at }) => at >= timeMs)
    return i < 0 ? this.end : this.base + i
  }

  /** Drops what lies before the offset; returns how many. */
  trim(offset: number): number {
    const gone = this.records.splice(0, Math.max(0, offset - this.base))
    for (const { body } of gone) this.bytes -= body.byteLength
    this.base += gone.length
    return gone.length
  }
}

/**
 * Positions. A record knows its own offset only (`p:o`); a page of all partitions also says where each of them stands
 * (`p:o@0,5,3`); the place between two pages is just that (`@0,6,3`).
 */
export class LogTopic {
  readonly partitions: readonly Partition[]
  readonly storage: string
  appended = 0
  retention: Retention = {}
  #turn = 0

  constructor(storage: string, partitions: number) {
    this.storage = storage
    this.partitions = Array.from({ length: partitions }, () => new Partition())
  }

  append({ storage, name, id, key, headers, body, at }: Outgoing): LogRecord {
    const index = key === undefined ? this.#turn++ % this.partitions.length : fnv1a(key) % this.partitions.length
    const partition = this.partitions[index]!
    const record = {
      storage,
      name,
      id,
      key,
      headers: headers && { ...headers },
      body: new Uint8Array(body),
      at,
      partition: index,
      offset: partition.end,
    }
    partition.records.push(record)
    partition.bytes += body.byteLength
    this.appended++
    this.retain()
    return record
  }

  /** As Kafka does: whether a group has read it does not matter. */
  retain(): void {
    const { ageMs, messages, bytes } = this.retention
    if (ageMs === undefined && messages === undefined && bytes === undefined) return
    const oldest = ageMs === undefined ? -Infinity : Date.now() - ageMs
    for (;;) {
      const cursor = this.partitions.map(({ base }) => base)
      const first = this.#step(cursor)
      if (!first) return
      const { count, size } = this.size()
      if (first.at >= oldest && count <= (messages ?? Infinity) && size <= (bytes ?? Infinity)) return
      this.partitions[first.partition]!.trim(first.offset + 1)
    }
  }

  size(): { count: number; size: number } {
    let count = 0
    let size = 0
    for (const partition of this.partitions) {
      count += partition.records.length
      size += partition.bytes
    }
    return { count, size }
  }

  /** Up to `limit` records after the place, merged by time, and the place after them. */
  page(after: ReadFrom, limit: number): { messages: Stored[]; next: Position } {
    const cursor = this.place(after, 1)
    const messages: Stored[] = []
    while (messages.length < limit) {
      const before = cursor.join(',')
      const record = this.#step(cursor)
      if (!record) break
      messages.push(stored(record, `${record.partition}:${record.offset}@${before}`))
    }
    return { messages, next: `@${cursor.join(',')}` }
  }

  /** An offset for each partition. `past`: 1 = after the record that a position names, 0 = at it. */
  place(from: ReadFrom, past: 0 | 1): number[] {
    if (from === 'start') return this.partitions.map(({ base }) => base)
    if (from === 'end') return this.partitions.map(({ end }) => end)
    if (typeof from === 'object') return this.partitions.map((partition) => partition.since(from.timeMs))
    const found = /^(?:(\d+):(\d+))?(?:@([\d,]+))?$/.exec(from)
    if (!found || from === '') throw new BusError('invalid_argument', `position '${from}' is none of this engine's`)
    const index = Number(found[1] ?? -1)
    const offset = Number(found[2] ?? -1)
    // A bare p:o says nothing of the other partitions: take them from the same time, so that nothing is left out.
    const time = this.partitions[index]?.at(offset)?.at ?? -Infinity
    const offsets = found[3]?.split(',').map(Number) ?? this.partitions.map((partition) => partition.since(time))
    if (index >= 0) offsets[index] = offset + past
    return this.partitions.map(({ base, end }, i) => Math.min(end, Math.max(base, offsets[i] ?? 0)))
  }

  /** The oldest record at the cursor, which moves past it. */
  #step(cursor: number[]): LogRecord | undefined {
    let oldest: LogRecord | undefined
    for (let i = 0; i < cursor.length; i++) {
      const record = this.partitions[i]!.at(cursor[i]!)
      if (record && (!oldest || record.at < oldest.at)) oldest = record
    }
    if (oldest) cursor[oldest.partition] = oldest.offset + 1
    return oldest
  }
}

export function stored({ storage, name, id, key, headers, body, at }: LogRecord, position: Position): Stored {
  return { storage, name, id, key, headers: headers && { ...headers }, body: new Uint8Array(body), at, position }
}

function fnv1a(text: string): number {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}
