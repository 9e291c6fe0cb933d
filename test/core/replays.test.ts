import { expect, test, vi } from 'vitest'
import { openEmbedded } from '../../src/engines/embedded/engine.ts'
import { BusError, connectEngine, Reject } from '../../src/index.ts'
import { memoryLedger } from '../../src/testing/index.ts'
import { override } from '../../src/testing/models/wrapping.ts'

/** A ledger that loses the connection while a letter is taken from the shelf, as a crash of the process would. */
function leaky() {
  const ledger = memoryLedger()
  const state = { away: false }
  const write: typeof ledger.write = (records) =>
    state.away && records.some(({ space, value }) => space === 'dead-letters' && value === undefined)
      ? Promise.reject(new BusError('engine_unavailable', 'the ledger is away'))
      : ledger.write(records)
  return { state, ledger: override(ledger, { write }) }
}

test('R10: a replay that broke off between storing and taking from the shelf, and is made again, reaches the group once', async () => {
  const { state, ledger } = leaky()
  const bus = await connectEngine(await openEmbedded({ dir: undefined }), { ledger })
  let broken = true
  const handled: unknown[] = []
  const work = await bus.subscribe('jobs', { group: 'g' }, (message) => {
    if (broken) throw new Reject('not now')
    handled.push(message.body)
  })
  const desk = bus.admin.deadLetters('jobs', 'g')
  await bus.publish('jobs', 1)
  await vi.waitFor(async () => expect(await desk.count()).toBe(1))
  broken = false
  state.away = true
  await expect(desk.replay({})).rejects.toMatchObject({ code: 'engine_unavailable' })
  state.away = false
  expect(await desk.replay({})).toBe(1)
  expect(await desk.count()).toBe(0)
  await bus.publish('jobs', 2)
  await vi.waitFor(() => expect(handled.toSorted()).toEqual([1, 2]))

  // The same message fails anew after the group was moved: that is another failure, replayed for itself.
  await work.close()
  broken = true
  await bus.admin.reset('jobs', 'g', { to: 'earliest' })
  await bus.subscribe('jobs', { group: 'g' }, (message) => {
    if (broken) throw new Reject('not now')
    handled.push(message.body)
  })
  await vi.waitFor(async () => expect(await desk.count()).toBe(2))
  broken = false
  expect(await desk.replay({})).toBe(2)
  await vi.waitFor(() => expect(handled.toSorted()).toEqual([1, 1, 2, 2]))
  await bus.close()
})
