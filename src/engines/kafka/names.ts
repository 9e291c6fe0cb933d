import { createHash } from 'node:crypto'

/** The longest name of a Kafka topic. */
const longest = 249
const mark = '..'

/** What the core keeps, and the names that were cut. */
export const ledgerTopic = '_cozebus.ledger'

export function hashed(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}

/**
 * `docs.*.*` → `docs...any...any`. A name holds no two dots in a row, so that two of them begin what Kafka's alphabet has not;
 * Coze's names stay as they are. One too long is cut, with a hash so that two of them stay two.
 */
export function topicName(storage: string): string {
  const name = storage.replace(
    /[^A-Za-z0-9._-]/g,
    (one) => mark + (one === '*' ? 'any' : one.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')),
  )
  return name.length <= longest ? name : `${name.slice(0, longest - 21)}${mark}cut${hashed(storage)}`
}

/** The storage of a topic; undefined for a name that was cut, which tells no more. */
export function storageName(topic: string): string | undefined {
  if (/\.\.cut[0-9a-f]{16}$/.test(topic)) return undefined
  return topic.replace(/\.\.(any|[0-9A-F]{2})/g, (_, code: string) =>
    code === 'any' ? '*' : String.fromCharCode(Number.parseInt(code, 16)),
  )
}

/** Topics that Coze's Go bus writes and reads too. */
export function isCoze(topic: string): boolean {
  return topic.startsWith('opencoze_')
}
