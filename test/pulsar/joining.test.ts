import { expect, test } from 'vitest'
import { BusError } from '../../src/index.ts'
import { entry, FakeBroker } from './fake-broker.ts'

const said = (broker: FakeBroker): string[] =>
  broker.told.map(({ command }) => command).filter((command) => ['subscribe', 'closeConsumer'].includes(command))

test('a consumer that is closed while it joins does not stay at the broker', async () => {
  const broker = new FakeBroker()
  const member = await broker.join()
  const answer = Promise.withResolvers<object>()
  broker.onAsk = (command) => (command === 'subscribe' ? (answer.promise as Promise<Record<string, unknown>>) : undefined)
  broker.restart()
  await expect.poll(() => said(broker)).toEqual(['subscribe', 'subscribe'])
  const closing = member.subscription.close()
  answer.resolve({})
  await closing
  expect(said(broker)).toEqual(['subscribe', 'subscribe', 'closeConsumer'])
})

test('nor one whose answer did not come in time, before it joins again', async () => {
  const broker = new FakeBroker()
  const member = await broker.join()
  let failures = 0
  broker.onAsk = (command) =>
    command === 'subscribe' && failures++ === 0 ? Promise.reject(new BusError('engine_unavailable', 'no answer in time')) : undefined
  broker.restart()
  broker.log.push(entry(1))
  await expect.poll(() => member.bodies).toEqual([1])
  expect(said(broker)).toEqual(['subscribe', 'subscribe', 'closeConsumer', 'subscribe'])
})
