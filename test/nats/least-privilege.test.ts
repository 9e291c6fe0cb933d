import { expect, test, vi } from 'vitest'
import { type Bus, connect } from '../../src/bus.ts'
import { Reject } from '../../src/deliver/outcome.ts'
import { topic } from '../../src/topic/definition.ts'
import { passwordAccess } from '../rig/access.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { documented } from './support.ts'

/** Ordered work, a retry, a dead letter that is looked at and replayed, a live listener, a pattern over topics, a question, browsing. */
async function everything(bus: Bus): Promise<void> {
  const jobs = topic('docs.{space}.{event}', { key: (job: { id: string }) => job.id })
  const handled: string[] = []
  let broken = true
  const heard = Promise.withResolvers<void>()
  const met = Promise.withResolvers<void>()
  const live = await bus.subscribe('docs.*.*', () => heard.resolve())
  const all = await bus.subscribe('docs.>', { group: 'archive' }, () => met.resolve())
  const work = await bus.subscribe(jobs, { group: 'indexer', retry: { initial: 20 } }, (message, { attempt }) => {
    if (message.body.id === 'again' && attempt === 1) throw new Error('once')
    if (message.body.id === 'bad' && broken) throw new Reject('bad')
    handled.push(message.body.id)
  })
  for (const id of ['fine', 'again', 'bad']) await bus.publish(jobs.with({ space: '7', event: 'added' }), { id })
  await heard.promise
  await met.promise
  const desk = bus.admin.deadLetters(jobs, 'indexer')
  await vi.waitFor(async () => expect([handled.toSorted(), await desk.count()]).toEqual([['again', 'fine'], 1]), 20_000)
  broken = false
  await desk.replay({})
  await vi.waitFor(() => expect(handled).toContain('bad'), 20_000)
  expect(await bus.admin.browse(jobs, { limit: 10 })).toMatchObject({ messages: expect.any(Array) })
  const answering = await bus.respond('docs.ask', { group: 'g' }, () => 'yes')
  expect(await bus.request('docs.ask', 1)).toBe('yes')
  await answering.close()
  await work.close()
  await all.close()
  await live.close()
}

await describeNats('a user with exactly the documented permissions', (version) => {
  test("does everything with provision: 'off', once somebody with more rights has made it", async () => {
    const users = [
      { user: 'rig', password: 'rig' },
      { user: 'service', password: 'secret', permissions: documented },
    ]
    await using server = await startNats({ version, access: passwordAccess(users) })
    await using maker = await connect(server.url, { nats: { user: 'rig', password: 'rig' } })
    await everything(maker)
    await maker.close()
    await using bus = await connect(server.url, { nats: { user: 'service', password: 'secret', provision: 'off' } })
    try {
      await everything(bus)
    } finally {
      expect([...new Set(server.logs().match(/(Publish|Subscription) Violation.*/g) ?? [])]).toEqual([])
    }
    await expect(bus.publish('elsewhere', 1)).rejects.toMatchObject({ code: expect.stringMatching(/not_found|forbidden/) })
  }, 60_000)
})
