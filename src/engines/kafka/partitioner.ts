import { BusError } from '../../errors.ts'
import { mainOf } from '../../topic/name.ts'
import type { Kafka } from './client.ts'
import { isCoze } from './names.ts'
import type { KafkaOptions, Partitioner } from './options.ts'

/** @throws BusError `invalid_argument`, and what a function of the user's throws */
export function partitionerOf(storage: string, { partitioner }: KafkaOptions): Partitioner {
  // Replays lie beside what is first sent: a key is in the same place in both.
  const topic = mainOf(storage) ?? storage
  const chosen = typeof partitioner === 'function' ? partitioner(topic) : partitioner
  if (chosen !== undefined && chosen !== 'java' && chosen !== 'fnv1a')
    throw new BusError('invalid_argument', `kafka.partitioner gave ${String(chosen)} for topic '${topic}'; give 'java', 'fnv1a' or nothing`)
  return chosen ?? (isCoze(topic) ? 'fnv1a' : 'java')
}

export function partitionOf(kafka: Kafka, kind: Partitioner, key: Buffer, count: number): number {
  if (kind === 'java') return (kafka.murmur2(key) & 0x7fffffff) % count
  return Math.abs((fnv1a(key) | 0) % count)
}

/** As sarama's: its sum is read as a signed number, and a negative rest is made positive. */
function fnv1a(bytes: Buffer): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash
}
