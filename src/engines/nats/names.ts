import { createHash } from 'node:crypto'
import { isPrivate } from '../../topic/name.ts'

/** Streams and buckets of the bus's own. */
export const replayStream = 'COZEBUS_REPLAYS'
export const replaySubjects = '_cozebus.replay.>'
export const ledgerBucket = 'COZEBUS_LEDGER'
export const checkpointsBucket = 'COZEBUS_CHECKPOINTS'
export const ownersBucket = 'COZEBUS_OWNERS'
export const blobsBucket = 'COZEBUS_BLOBS'

/** What streams and consumers made here say of themselves. */
export const storageMark = 'cozebus.storage'
export const partitionsMark = 'cozebus.partitions'
export const groupMark = 'cozebus.group'

/** Between a name and its partition, where a topic has partitions: `docs.7.added._k.11`. */
export const partitionToken = '_k'

const longest = 200

/** A text of any kind as one short token. */
export function hashed(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}

/** Cut where the server's limit forces it, with a hash so that two long names stay two. */
function shortened(name: string): string {
  if (name.length <= longest) return name
  return `${name.slice(0, longest - 17)}_${hashed(name)}`
}

/** `coze.knowledge` → `coze_knowledge_STREAM`, as Coze names it; a parameter's place is written `ANY`. */
export function streamName(storage: string): string {
  if (isPrivate(storage)) return replayStream
  return shortened(`${storage.replaceAll('.', '_').replaceAll('*', 'ANY')}_STREAM`)
}

/** A group as a durable name: the same where the alphabet allows it, as Go names it. */
export function durableName(group: string, storage: string, named?: string): string {
  const own = named ?? group.replaceAll('.', '%2E')
  // The replays of all groups are in one stream: there a group needs the topic's name too.
  return isPrivate(storage) ? shortened(`${own}_${hashed(storage)}`) : shortened(own)
}

/** The durable of one partition of a group. */
export function partitionDurable(durable: string, partition: number): string {
  return `${durable}-p${partition}`
}

/** FNV-1a, 32 bits, over UTF-8: the hash of the server's own partition() (server/subject_transform.go). */
export function partitionOf(key: string, partitions: number): number {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(key)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash % partitions
}

/** The subject that a stored subject was published under: without its partition. */
export function nameOf(subject: string, partitioned: boolean): string {
  if (!partitioned) return subject
  const at = subject.lastIndexOf(`.${partitionToken}.`)
  return at < 0 ? subject : subject.slice(0, at)
}

/** The subject of a message: a key has its partition in it, where the stream has partitions. */
export function subjectOf({ name, key }: { readonly name: string; readonly key: string | undefined }, partitions: number): string {
  return key !== undefined && partitions > 0 ? `${name}.${partitionToken}.${partitionOf(key, partitions)}` : name
}
