import { expect, test } from 'vitest'
import type { Bus } from '../../src/bus.ts'
import { connectEngine } from '../../src/bus.ts'
import { Reject } from '../../src/deliver/outcome.ts'
import type { Engine } from '../../src/engines/engine.ts'
import { Blobs } from '../../src/ledger/blobs.ts'
import { sweepBlobs } from '../../src/publish/claim-check.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { queueModel } from '../../src/testing/models/queue.ts'

const day = 24 * 3600_000
const large = new Uint8Array(1024 * 1024 + 5000).map((_, i) => i)

async function world(broker = logModel()): Promise<{ engine: Engine; bus: Bus; ledger: ReturnType<typeof memoryLedger>; blobs: Blobs }> {
  const ledger = memoryLedger()
  const engine = await broker.connect()
  return { engine, bus: await connectEngine(engine, { ledger, claimCheck: true }), ledger, blobs: new Blobs(ledger) }
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5))
}

test('R11: where a broker has no headers the place of the body travels in the envelope', async () => {
  const { bus } = await world(queueModel())
  let got: unknown
  await bus.subscribe('t', { group: 'g' }, (message) => void (got = message.body))
  await bus.publish('t', large)
  await until(() => got !== undefined)
  expect(Buffer.from(got as Uint8Array).equals(large)).toBe(true)
  await bus.close()
})

test('R11: a body stored aside lives as long as its message, and no longer', async () => {
  const { engine, bus, ledger, blobs } = await world()
  await bus.publish('t', large)
  expect(await ledger.count('blobs', '')).toBe(1)
  expect(await sweepBlobs(engine, blobs, Date.now() + day)).toBe(0)
  await bus.admin.purge('t')
  expect(await sweepBlobs(engine, blobs, Date.now())).toBe(0) // it may be that the message is not there yet
  expect(await sweepBlobs(engine, blobs, Date.now() + day)).toBe(1)
  expect(await ledger.count('blobs', '')).toBe(0)
  await bus.close()
})

test('R10, R11: a dead letter keeps its whole body when the message is gone, replays it, and takes it along when discarded', async () => {
  const { engine, bus, ledger, blobs } = await world()
  let broken = true
  const bodies: Uint8Array[] = []
  await bus.subscribe('t', { group: 'g' }, (message) => {
    if (broken) throw new Reject('not now')
    bodies.push(message.body)
  })
  await bus.publish('t', large)
  const desk = bus.admin.deadLetters('t', 'g')
  await until(async () => (await desk.count()) === 1)
  await bus.admin.purge('t')
  await sweepBlobs(engine, blobs, Date.now() + day)
  const { id } = (await desk.list())[0]!
  expect(Buffer.from((await desk.get(id)).bytes).equals(large)).toBe(true)
  broken = false
  await desk.replay([id])
  await until(() => bodies.length === 1)
  expect(Buffer.from(bodies[0]!).equals(large)).toBe(true)
  expect(await ledger.keys('blobs', '!letters/', { limit: 10 })).toEqual([])

  broken = true
  await bus.publish('t', large)
  await until(async () => (await desk.count()) === 1)
  expect((await ledger.keys('blobs', '!letters/', { limit: 10 })).length).toBe(1)
  await desk.discard({})
  expect(await ledger.keys('blobs', '!letters/', { limit: 10 })).toEqual([])
  await bus.close()
})

test('R11: off by default: a body above the limit is refused, with the limit', async () => {
  const bus = await connectEngine(await logModel().connect(), { ledger: memoryLedger() })
  await expect(bus.publish('t', large)).rejects.toMatchObject({ code: 'message_too_large', message: expect.stringContaining('1048576') })
  await bus.close()
})
