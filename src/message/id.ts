import { randomFillSync } from 'node:crypto'

// Random bytes are drawn in blocks: a call into crypto for each id would cost more than the rest of a publish.
const pool = Buffer.allocUnsafe(8 * 1024)
let used = pool.length
let lastMs = 0
let sequence = 0

const hex: string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/**
 * A UUIDv7 (RFC 9562 §5.7), growing within a process: 48 bits of milliseconds, then a 12-bit counter
 * (method 1 of §6.2, seeded at random each millisecond), then 62 random bits.
 */
export function newId(now: number = Date.now()): string {
  if (used + 10 > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  if (now > lastMs) {
    lastMs = now
    sequence = ((pool[used]! & 0x07) << 8) | pool[used + 1]!
  } else if (++sequence > 0xfff) {
    lastMs++ // the counter ran over: borrow a millisecond from the future, as the RFC allows
    sequence = 0
  }
  const high = Math.floor(lastMs / 0x10000)
  const r = used + 2
  used += 10
  return (
    hex[(high >>> 24) & 255]! +
    hex[(high >>> 16) & 255]! +
    hex[(high >>> 8) & 255]! +
    hex[high & 255]! +
    '-' +
    hex[(lastMs >>> 8) & 255]! +
    hex[lastMs & 255]! +
    '-' +
    hex[0x70 | (sequence >>> 8)]! +
    hex[sequence & 255]! +
    '-' +
    hex[0x80 | (pool[r]! & 0x3f)]! +
    hex[pool[r + 1]!]! +
    '-' +
    hex[pool[r + 2]!]! +
    hex[pool[r + 3]!]! +
    hex[pool[r + 4]!]! +
    hex[pool[r + 5]!]! +
    hex[pool[r + 6]!]! +
    hex[pool[r + 7]!]!
  )
}
