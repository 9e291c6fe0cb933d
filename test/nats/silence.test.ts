import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Bus, connect } from '../../src/bus.ts'
import { type NatsNode, startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

/** As while leaders change: nobody answers for longer than a request waits, and what was asked may be done all the same. */
async function whileSilent<T>(server: NatsNode, ask: () => Promise<T>): Promise<T> {
  server.signal('SIGSTOP')
  const asked = ask()
  asked.catch(() => {})
  await sleep(2500)
  server.signal('SIGCONT')
  return asked
}

async function prepared(url: string): Promise<Bus> {
  const bus = await connect(url)
  await bus.publishMany('jobs', [1, 2, 3])
  const work = await bus.subscribe('jobs', { group: 'g' }, () => {})
  await expect.poll(() => bus.admin.lag('jobs', 'g')).toBe(0)
  await work.close()
  return bus
}

await describeNats('a server that does not answer for a while', (version) => {
  test('is asked again for what can be asked twice', async () => {
    await using server = await startNats({ version })
    await using bus = await prepared(server.url)
    const { admin } = bus
    const [groups, lag, topics, page] = await whileSilent(server, () =>
      Promise.all([admin.groups('jobs'), admin.lag('jobs', 'g'), admin.topics(), admin.browse('jobs', { limit: 10 })]),
    )
    expect(groups).toMatchObject([{ group: 'g', lag: 0 }])
    expect(lag).toBe(0)
    expect(topics.map(({ storage }) => storage)).toContain('jobs')
    expect(page.messages).toHaveLength(3)

    await whileSilent(server, () => admin.reset('jobs', 'g', { to: 'earliest' }))
    expect(await admin.lag('jobs', 'g')).toBe(3)
    await whileSilent(server, () => admin.purge('jobs'))
    expect(await admin.lag('jobs', 'g')).toBe(0)
    // Done at the first try, of which the answer was lost: not found at the second.
    await whileSilent(server, () => admin.deleteGroup('jobs', 'g'))
    expect(await admin.groups('jobs')).toEqual([])
  }, 40_000)
})
