import type { Headers } from '../../message/headers.ts'
import { textOf } from '../../message/text.ts'
import { wire } from '../../message/wire.ts'
import type { Outgoing, Stored } from '../engine.ts'
import type { Batch } from './record-batch.ts'

/** The id under which it was sent, where a replay's own id stands in {@link wire.id}. */
const idHeader = 'cozebus-message-id'
/** The full name, where it is not the topic's. */
const nameHeader = 'cozebus-name'

/** A record as it goes out. */
export interface Sending {
  readonly topic: string
  readonly partition: number
  readonly key: Buffer | undefined
  /** Absent: the record deletes its key, in a compacted topic. */
  readonly value: Uint8Array | undefined
  /** Names and values in turn. */
  readonly headers: readonly string[]
  /** Milliseconds. */
  readonly timestamp: number
}

/** A record as it was read. */
export interface Read {
  readonly offset: number
  readonly timestampMs: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** Names and values in turn. */
  readonly headers: readonly string[]
  /** What it takes on the wire. */
  readonly size: number
}

/** Roughly what a record takes beside key, value and headers. */
const recordRoom = 32

export function encodeRecord(message: Outgoing, topic: string, partition: number, key: Buffer | undefined): Sending {
  const headers = [idHeader, message.id]
  if (message.name !== message.storage) headers.push(nameHeader, message.name)
  for (const name in message.headers) headers.push(name, message.headers[name]!)
  return { topic, partition, key, value: message.body, headers, timestamp: Math.floor(message.at) }
}

export function sizeOf({ key, value, headers }: Sending): number {
  let size = recordRoom + (key?.byteLength ?? 0) + (value?.byteLength ?? 0)
  for (const text of headers) size += Buffer.byteLength(text) + 4
  return size
}

/** A message of anybody's: without a header of ours its id is its place. */
export function decodeRecord(record: Read, storage: string, partition: number, position: string): Stored {
  let id: string | undefined
  let name: string | undefined
  let headers: Record<string, string> | undefined
  let at = record.timestampMs
  for (let i = 0; i < record.headers.length; i += 2) {
    const key = record.headers[i]!
    const value = record.headers[i + 1]!
    if (key === idHeader) id = value
    else if (key === nameHeader) name = value
    else {
      if (key === wire.publishedAt && Number.isFinite(Number(value))) at = Number(value)
      ;(headers ??= {})[key] = value
    }
  }
  return {
    storage,
    name: name ?? storage,
    id: id ?? `${storage}:${partition}:${record.offset}`,
    key: record.key === null ? undefined : textOf(record.key),
    headers: headers as Headers | undefined,
    body: record.value ?? new Uint8Array(0),
    at,
    position,
  }
}

const transactional = 1 << 4
const control = 1 << 5

/**
 * The records from `from` on that nobody took back, and the offset after the last one looked at. A transaction that was
 * aborted is left out: its records stand from where the broker says to the mark that ends it.
 */
export function recordsOf(
  batches: readonly Batch[] | null | undefined,
  aborted: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[] | null | undefined,
  from: number,
): { records: Read[]; next: number } {
  const records: Read[] = []
  const open = [...(aborted ?? [])].sort((a, b) => Number(a.firstOffset - b.firstOffset))
  const taken = new Set<bigint>()
  let next = from
  for (const batch of batches ?? []) {
    next = Math.max(next, batch.firstOffset + batch.lastOffsetDelta + 1)
    while (open.length > 0 && Number(open[0]!.firstOffset) <= batch.firstOffset) taken.add(open.shift()!.producerId)
    if (batch.attributes & control) {
      // 0 = the end of an aborted one, 1 = of a committed one.
      if (batch.records[0]?.key?.readInt16BE(2) === 0) taken.delete(batch.producerId)
      continue
    }
    if (batch.attributes & transactional && taken.has(batch.producerId)) continue
    for (const record of batch.records) if (record.offset >= from) records.push(record)
  }
  return { records, next }
}
