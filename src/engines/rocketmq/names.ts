import { createHash } from 'node:crypto'
import { mainOf } from '../../topic/name.ts'

/** A broker takes 127; a group's retry topic holds both names, and 255 in all. */
const longest = 120
const hashLength = 16
const cut = /%cut[0-9a-f]{16}$/

export const retryPrefix = '%RETRY%'
export const deadPrefix = '%DLQ%'

/**
 * A name in RocketMQ's letters (`[%|a-zA-Z0-9_-]`), so that it can be read back: `docs.*.*` → `docs|%any|%any`. What is
 * neither letter nor digit nor _ nor - is `%` and its code; Coze's names stay as they are. One too long is cut, with a hash
 * so that two of them stay two.
 */
export function physicalName(name: string): string {
  const letters = name.replace(/[^a-zA-Z0-9_-]/g, (one) =>
    one === '.' ? '|' : one === '*' ? '%any' : `%${one.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
  if (letters.length <= longest) return letters
  // The key of the record that tells the whole name.
  return `${letters.slice(0, longest - hashLength - 4)}%cut${createHash('sha256').update(name).digest('hex').slice(0, hashLength)}`
}

/** The name behind; undefined for one that was cut, which tells no more. */
export function originalName(physical: string): string | undefined {
  if (cut.test(physical)) return undefined
  return physical.replace(/\||%any|%([0-9a-f]{2})/g, (found, code: string | undefined) =>
    found === '|' ? '.' : found === '%any' ? '*' : String.fromCharCode(Number.parseInt(code!, 16)),
  )
}

/**
 * A group on the brokers: there it is one for all the topics that it reads, and all its members have to read the same. So
 * here it is one for each topic, `indexer|docs|%any|%any`; for a topic that is shared with other programs it is named as it is.
 * Replays are read by the group of their topic.
 */
export function groupName(group: string, storage: string, isShared: (topic: string) => boolean): string {
  const main = mainOf(storage) ?? storage
  return isShared(main) ? physicalName(group) : physicalName(`${group}.${main}`)
}

/** The group behind, of one that reads the topic; undefined for one that was cut. */
export function groupOf(physical: string, storage: string): string | undefined {
  const main = mainOf(storage) ?? storage
  const whole = originalName(physical)
  return whole?.endsWith(`.${main}`) ? whole.slice(0, -main.length - 1) : whole
}

/** Where classic clients put what failed, for all topics of a group. */
export const retryTopic = (group: string): string => `${retryPrefix}${group}`

/** Where a broker puts what was popped and not acknowledged in time. */
export const popRetryTopic = (group: string, topic: string): string => `${retryPrefix}${group}_${topic}`

const own =
  /^(%RETRY%|%DLQ%|rmq_sys_|RMQ_SYS_|TBW102$|SCHEDULE_TOPIC_XXXX$|SELF_TEST_TOPIC$|BenchmarkTest$|OFFSET_MOVED_EVENT$|TRANS_CHECK_MAX_TIME_TOPIC$)|_REPLY_TOPIC$/

/** Topics of the brokers' own. */
export function isSystem(topic: string): boolean {
  return own.test(topic)
}

/** Topics that Coze's Go bus writes and reads too, and their replays. */
export function isCoze(storage: string): boolean {
  return (mainOf(storage) ?? storage).startsWith('opencoze_')
}
