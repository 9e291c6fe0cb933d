import type { Entry } from './delivery.ts'
import { wireId } from './protocol.ts'

/**
 * What is said to the broker of an entry: that it is done with, or which of its messages are not. A broker that does not count within
 * entries (`acknowledgmentAtBatchIndexLevelEnabled`) takes the second for nothing, and gives all of it again to the next one.
 */
export function ackOf(entry: Entry): object {
  if (entry.left <= 0) return wireId(entry.id)
  const words = Array.from({ length: Math.ceil(entry.count / 64) }, () => ({ low: 0, high: 0, unsigned: false }))
  for (const [i, settled] of entry.settled.entries()) {
    if (settled) continue
    const word = words[i >> 6]!
    if (i & 32) word.high |= 1 << (i & 31)
    else word.low |= 1 << (i & 31)
  }
  return { ...wireId(entry.id), ack_set: words, batch_size: entry.count }
}
