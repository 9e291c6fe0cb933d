import { afterAll, expect, test } from 'vitest'
import { BusError } from '../../src/index.ts'
import { describePulsar } from '../rig/needs.ts'
import { startPulsar } from '../rig/pulsar.ts'
import { entry, FakeBroker } from './fake-broker.ts'
import { busAt, fresh, roundTrip } from './support.ts'

test('a topic that its broker cannot load is told while that is so', async () => {
  const broker = new FakeBroker()
  const { bodies, subscription } = await broker.join()
  let broken = true
  const unloadable = new BusError('engine_unavailable', "topic 't': the broker refused it (Pulsar, error 2: its ledger is gone)")
  broker.onAsk = (command) => (command === 'subscribe' && broken ? Promise.reject(unloadable) : undefined)
  broker.restart()
  await expect.poll(() => subscription.trouble).toContain('its ledger is gone')
  broken = false
  broker.log.push(entry(1))
  await expect.poll(() => bodies).toEqual([1])
  expect(subscription.trouble).toBeUndefined()
})

await describePulsar('the health of a broker', async () => {
  const broker = await startPulsar({ partitions: 2 })
  afterAll(() => broker.stop())

  test('is asked about without making a topic', async () => {
    const bus = await busAt(broker.url, { admin: broker.admin })
    const topic = fresh('health')
    await roundTrip(bus, topic)
    await broker.kill()
    await expect.poll(async () => (await bus.health()).ok).toBe(false)
    await broker.start()
    await expect.poll(async () => (await bus.health()).ok).toBe(true)
    for (const kind of ['persistent/public/default', 'persistent/public/default/partitioned'])
      expect(((await broker.ask(`/admin/v2/${kind}`)) as string[]).filter((name) => name.includes('cozebus-health'))).toEqual([])
  }, 120_000)
})
