import { cutTo, dotted } from '../dotted-name.ts'

export { undotted as storageName } from '../dotted-name.ts'

/** The longest name of a Kafka topic. */
const longest = 249

/** What the core keeps, and the names that were cut. */
export const ledgerTopic = '_cozebus.ledger'

export const topicName = (storage: string): string => cutTo(longest, dotted(storage), storage)

/** Topics that Coze's Go bus writes and reads too. */
export function isCoze(topic: string): boolean {
  return topic.startsWith('opencoze_')
}
