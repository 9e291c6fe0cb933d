import { closeSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { describeRocketmq } from '../rig/needs.ts'
import { busAt, rocketmq } from './support.ts'

/** What is left of a message whose broker is killed between its body and its properties: they are zeros, as the file was. */
function tear(store: string, body: string): void {
  const folder = join(store, 'commitlog')
  const file = join(folder, readdirSync(folder)[0]!)
  const bytes = readFileSync(file)
  const at = bytes.indexOf(body) + body.length
  const properties = at + 1 + bytes[at]!
  const length = bytes.readUInt16BE(properties)
  const log = openSync(file, 'r+')
  writeSync(log, Buffer.alloc(length), 0, length, properties + 2)
  closeSync(log)
}

await describeRocketmq('a message that its broker was killed in the middle of', () => {
  for (const order of ['key', 'none'] as const)
    test(`order '${order}': it was confirmed to nobody, and is given to nobody`, async () => {
      const brokers = await rocketmq()
      const bus = await busAt(brokers.url, { queues: 1 })
      await bus.publish('torn', 'whole', { key: 'k' })
      await bus.publish('torn', 'cut off', { key: 'k' })
      const [broker] = brokers.brokers
      await broker!.kill()
      tear(brokers.storeOf(0), '"cut off"')
      await broker!.start()
      await bus.publish('torn', 'after', { key: 'k' })
      const got: unknown[] = []
      await bus.subscribe('torn', { group: 'g', order, lease: 1000 }, ({ body }) => void got.push(body))
      await expect.poll(() => got, { timeout: 20_000 }).toEqual(['whole', 'after'])
      await expect.poll(() => bus.admin.lag('torn', 'g'), { timeout: 10_000 }).toBe(0)
      const { messages } = await bus.admin.browse('torn', { from: 'start', limit: 10 })
      expect(messages.map(({ body }) => body)).toEqual(['whole', 'after'])
      expect(got.length).toBe(2)
    }, 90_000)
})
