import { Admin } from '@platformatic/kafka'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { type Bus, connectEngine } from '../../src/bus.ts'
import type { Engine, Outgoing } from '../../src/engines/engine.ts'
import { openKafka } from '../../src/engines/kafka/engine.ts'
import { newId } from '../../src/message/id.ts'
import { outgoing, Seat } from '../../src/testing/seat.ts'
import { type KafkaNode, startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { eager } from './support.ts'

const count = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const message = (storage: string, body: string, at = Date.now()): Outgoing => outgoing(storage, body, { at, id: newId(at) })

await describeKafka('reading', () => {
  let broker: KafkaNode
  let admin: Admin
  beforeAll(async () => {
    broker = await startKafka()
    admin = new Admin({ clientId: 'test', bootstrapBrokers: [broker.address] })
  }, 90_000)
  afterAll(async () => {
    await admin.close()
    await broker.stop()
  })

  const engine = async (partitions = 1): Promise<Engine> => {
    const opened = await openKafka(broker.url, { ...eager, partitions })
    onTestFinished(() => opened.close())
    return opened
  }
  const bus = async (partitions = 1): Promise<Bus> => {
    const opened = await connectEngine(await openKafka(broker.url, { ...eager, partitions }), {
      defaults: { retry: { initial: 20, jitter: 'none' }, breaker: false },
    })
    onTestFinished(() => opened.close())
    return opened
  }
  /** By somebody who knows nothing of the bus, and the first of its messages before anybody has looked again. */
  const makeAgain = async (topic: string): Promise<void> => {
    await admin.deleteTopics({ topics: [topic] })
    await expect
      .poll(
        () =>
          admin.createTopics({ topics: [topic], partitions: 1 }).then(
            () => 'made',
            (error: Error) => error.message,
          ),
        {
          timeout: 10_000,
        },
      )
      .toBe('made')
  }

  test('a time with a fraction is the millisecond it is in, and fails nobody', async () => {
    const one = await engine()
    const at = Date.now() - 1000
    const outcomes = await one.publish([message('fractions', 'a', at + 0.5), message('fractions', 'b', at)])
    expect(outcomes.map(({ ok }) => ok)).toEqual([true, true])
    const page = await one.read('fractions', { timeMs: at - 0.25 }, 10)
    expect(page.messages.map((found) => found.at)).toEqual([at, at])
  })

  test('R7: a body that is larger than all the bytes of a member comes, alone', async () => {
    const one = await bus()
    const got: number[] = []
    await one.subscribe('large', { group: 'g', lanes: { bytes: 1000 } }, ({ body }) => void got.push((body as string).length))
    for (const length of [5000, 10, 5000, 900]) await one.publish('large', '.'.repeat(length))
    await expect.poll(() => got).toEqual([5000, 10, 5000, 900])
  })

  test('R3: what was deleted before its group had read it is told, with its number', async () => {
    const one = await engine()
    const first = await Seat.take(one, 'short')
    first.grant(1)
    await one.publish(count(10).map((i) => message('short', `${i}`)))
    await expect.poll(() => first.texts).toEqual(['0'])
    await first.ack(...first.deliveries)
    await first.close()
    await admin.deleteRecords({ topics: [{ name: 'short', partitions: [{ partition: 0, offset: 7n }] }] })
    const second = await Seat.take(one, 'short')
    second.grant(10)
    await expect.poll(() => second.texts).toEqual(['7', '8', '9'])
    expect(second.warnings).toEqual([expect.stringMatching(/'short', partition 0: 6 messages were deleted/)])
  })

  test('R3: a topic that is deleted and made again is read from its beginning by those who were there, and they are told', async () => {
    const one = await engine()
    const seats = [await Seat.take(one, 'remade'), await Seat.take(one, 'remade', { group: 'later', from: 'new' })]
    for (const seat of seats) seat.grant(100)
    await one.publish(count(5).map((i) => message('remade', `old ${i}`)))
    for (const seat of seats) {
      await expect.poll(() => seat.texts.length).toBe(5)
      await seat.ack(...seat.deliveries)
    }
    await makeAgain('remade')
    const other = await engine()
    await other.publish(count(8).map((i) => message('remade', `new ${i}`)))
    for (const seat of seats) {
      await expect.poll(() => seat.texts.slice(5), { timeout: 15_000 }).toEqual(count(8).map((i) => `new ${i}`))
      expect(seat.warnings.join()).toContain('made again')
    }
  }, 40_000)

  test('R3: partitions that are added are found by those who read, from their first message on', async () => {
    const one = await engine()
    const got: unknown[] = []
    const reading = await bus()
    await reading.subscribe('grown', { group: 'g', from: 'new' }, ({ body }) => void got.push(body))
    const heard: unknown[] = []
    await reading.subscribe('grown', ({ body }) => void heard.push(body))
    await one.publish([message('grown', '0')])
    await expect.poll(() => got.length).toBe(1)
    await admin.createPartitions({ topics: [{ name: 'grown', count: 4 }] })
    // One that has just connected knows of them.
    const other = await engine()
    await expect
      .poll(async () => {
        const outcomes = await other.publish(count(4).map((i) => message('grown', `${i}`)))
        return new Set(outcomes.map((outcome) => outcome.ok && outcome.position?.split(':')[0])).size
      })
      .toBe(4)
    const sent = (await other.admin.topics()).find(({ storage }) => storage === 'grown')!.messages
    await expect.poll(() => got.length, { timeout: 15_000 }).toBe(sent)
    await expect.poll(() => heard.length, { timeout: 5000 }).toBe(sent)
  }, 40_000)
})
