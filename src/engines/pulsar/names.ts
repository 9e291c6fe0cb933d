import { cutTo, dotted, escaped } from '../dotted-name.ts'

export { undotted as storageName } from '../dotted-name.ts'

/** Longer ones do not fit into every metadata store. */
const longest = 240

/** Pulsar takes what ends like one part of a topic for that part of another topic. */
export const topicName = (storage: string): string =>
  cutTo(longest, dotted(storage).replace(/-(partition-\d+)$/, `${escaped('-')}$1`), storage)

const partition = /-partition-(\d+)$/

/** A topic of partitions, for one of them; else the name itself. */
export const withoutPartition = (topic: string): string => topic.replace(partition, '')

/** Which one of them; -1: it is none. */
export const partitionOf = (topic: string): number => Number(partition.exec(topic)?.[1] ?? -1)

export const partitionName = (topic: string, i: number): string => `${topic}-partition-${i}`

/** Topics of the brokers' own. */
export const isSystem = (topic: string): boolean => topic.startsWith('__')
