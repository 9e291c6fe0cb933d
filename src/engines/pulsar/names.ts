import { createHash } from 'node:crypto'

/** Longer ones do not fit into every metadata store. */
const longest = 240
const mark = '..'

/**
 * `docs.*.*` → `docs...any...any`: the letters that every part of Pulsar takes. A name of ours holds no two dots in a row, so that
 * two of them begin what is escaped; Coze's names stay as they are. One too long is cut, with a hash so that two of them stay two.
 */
export function topicName(storage: string): string {
  const name = storage
    .replace(/[^A-Za-z0-9._-]/g, (one) => mark + (one === '*' ? 'any' : codeOf(one)))
    // Pulsar takes what ends so for a part of another topic.
    .replace(/-(partition-\d+)$/, `${mark}2D$1`)
  if (name.length <= longest) return name
  return `${name.slice(0, longest - 21)}${mark}cut${createHash('sha256').update(storage).digest('hex').slice(0, 16)}`
}

const codeOf = (one: string): string => one.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')

/** The storage of a topic; undefined for a name that was cut, which tells no more. */
export function storageName(topic: string): string | undefined {
  if (/\.\.cut[0-9a-f]{16}$/.test(topic)) return undefined
  return topic.replace(/\.\.(any|[0-9A-F]{2})/g, (_, code: string) =>
    code === 'any' ? '*' : String.fromCharCode(Number.parseInt(code, 16)),
  )
}

const partition = /-partition-(\d+)$/

/** A topic of partitions, for one of them; else the name itself. */
export const withoutPartition = (topic: string): string => topic.replace(partition, '')

export const partitionName = (topic: string, i: number): string => `${topic}-partition-${i}`

/** Topics of the brokers' own. */
export const isSystem = (topic: string): boolean => topic.startsWith('__')

/** Topics that Coze's Go bus writes and reads too. */
export const isCoze = (topic: string): boolean => topic.startsWith('opencoze_')
