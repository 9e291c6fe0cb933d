// What the Go bus prints of each message: a program that sends one, fails in it, and gives it up. Ends once it is a dead letter.
import { connect } from '../../src/bus.ts'
import { configFromEnv, createProducer, registerConsumer } from '../../src/coze/index.ts'

const [url, topic, body] = process.argv.slice(2) as [string, string, string]
const config = configFromEnv(process.env)
const consumer = await registerConsumer(
  config,
  topic,
  'cg',
  () => {
    throw new Error('not today')
  },
  { retry: { attempts: 2, initial: 10, jitter: 'none' } },
)
const producer = await createProducer(config, topic, 'cg')
await producer.send(body)
const bus = await connect(url, { ledger: process.env['COZEBUS_LEDGER']! })
const letters = bus.admin.deadLetters(topic, 'cg')
while ((await letters.count()) === 0) await new Promise((resolve) => setTimeout(resolve, 50))
await Promise.all([bus.close(), producer.close(), consumer.close()])
