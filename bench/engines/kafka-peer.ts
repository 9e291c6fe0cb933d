// Kafka's best client for Node beside ours: batches of 250, four under way (it has none of its own), and a stream that commits by itself.
// Of its own it asks for 50 MB at once, and takes seven times as long to unpack them as in pieces of this size.
import { parseArgs } from 'node:util'
import { Admin, Consumer, Producer } from '@platformatic/kafka'
import { finish } from './phases.ts'

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    topic: { type: 'string' },
    group: { type: 'string' },
    count: { type: 'string' },
    size: { type: 'string' },
  },
})
const { url, topic, group } = values as Record<keyof typeof values, string>
const count = Number(values.count)
const value = Buffer.alloc(Number(values.size), 65)
const common = { clientId: 'peer', bootstrapBrokers: [url] }

const admin = new Admin(common)
await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 })
await admin.close()
const producer = new Producer({ ...common, idempotent: true })
const consumer = new Consumer({ ...common, groupId: group, autocommit: true, maxBytes: 1024 * 1024 })
await finish(
  count,
  async () => {
    let left = count
    const publishing = async (): Promise<void> => {
      while (left > 0) {
        const size = Math.min(250, left)
        left -= size
        await producer.send({ messages: Array.from({ length: size }, () => ({ topic, value })) })
      }
    }
    await Promise.all(Array.from({ length: 4 }, publishing))
  },
  async (took) => {
    const stream = await consumer.consume({ topics: [topic], mode: 'earliest' })
    stream.on('data', took)
  },
)
await producer.close()
await consumer.close(true)
