import type { KafkaOptions } from '../../src/engines/kafka/options.ts'

/** For tests that wait for members to come and go. */
export const eager: KafkaOptions = { partitions: 4, handoverMs: 500, sessionTimeoutMs: 6000, connectTimeoutMs: 3000 }
