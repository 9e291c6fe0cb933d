import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { ownersBucket, streamName } from '../../src/engines/nats/names.ts'
import { topic } from '../../src/topic/definition.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'
import { eager } from './support.ts'

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)

await describeNats('what an owner leaves to the next', (version) => {
  test('given back, forgotten by a server that was started anew: still it comes first and in order, also when the connection drops', async () => {
    await using server = await startNats({ version })
    const name = 'jobs.left'
    {
      await using bus = await connect(server.url, { drain: 0 })
      const stuck = (_: unknown, { signal }: { signal: AbortSignal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      const member = await bus.subscribe(name, { group: 'g', order: 'topic', lease: '10s' }, stuck)
      await bus.publishMany(name, numbers(0, 40))
      await expect.poll(() => member.status().inHand).toBeGreaterThan(0)
      await member.close({ deadlineMs: 0 })
    }
    await server.kill('SIGTERM')
    await server.start()
    await using proxy = await startProxy(server.port)
    await using bus = await connect(`nats://127.0.0.1:${proxy.port}`, { nats: eager })
    await using direct = await connect(server.url)
    await direct.publishMany(name, numbers(40, 60))
    const got: unknown[] = []
    await bus.subscribe(name, { group: 'g', order: 'topic', lease: '10s' }, async ({ body }) => {
      got.push(body)
      await sleep(20)
    })
    await expect.poll(() => got.length).toBeGreaterThan(5)
    // In the middle of what is on its way to the member, so that something of it is missing.
    proxy.cutAfter(3000, 'down')
    await direct.publishMany(name, numbers(60, 70), { headers: { pad: 'x'.repeat(1000) } })
    await expect.poll(() => new Set(got).size).toBe(70)
    expect([...new Set(got)]).toEqual(numbers(0, 70))
    await expect.poll(() => direct.admin.lag(name, 'g')).toBe(0)
  }, 60_000)

  test.each(['key', 'none'] as const)(
    'a server that was set back to an older copy: what it confirms from then on is handled (order: %s)',
    async (order) => {
      await using server = await startNats({ version })
      const name = 'jobs.back'
      await using bus = await connect(server.url, { nats: eager })
      const got: unknown[] = []
      await bus.subscribe(name, { group: 'g', order, lease: '2s' }, ({ body }) => void got.push(body))
      for (const n of numbers(0, 5)) await bus.publish(name, n)
      await expect.poll(() => got.length).toBe(5)
      await server.kill('SIGTERM')
      const store = readdirSync(server.dir, { recursive: true, encoding: 'utf8' }).find((path) => path.endsWith(streamName(name)))!
      const copy = mkdtempSync(join(tmpdir(), 'cozebus-copy-'))
      onTestFinished(() => rmSync(copy, { recursive: true, force: true }))
      cpSync(join(server.dir, store), copy, { recursive: true })
      await server.start()
      for (const n of numbers(5, 10)) await bus.publish(name, n)
      await expect.poll(() => got.length).toBe(10)
      await server.kill('SIGTERM')
      rmSync(join(server.dir, store), { recursive: true })
      cpSync(copy, join(server.dir, store), { recursive: true })
      await server.start()
      for (const n of numbers(100, 105)) await bus.publish(name, n)
      await expect.poll(() => got.filter((n) => Number(n) >= 100)).toEqual(expect.arrayContaining(numbers(100, 105)))
    },
    60_000,
  )

  test('a part that cannot begin is tried again in its time, and that is told', async () => {
    await using server = await startNats({ version })
    await using nc = await server.connect()
    const jsm = await jetstreamManager(nc)
    const jobs = topic('gone.{space}', { key: (job: { id: string }) => job.id })
    await using bus = await connect(server.url)
    await using other = await connect(server.url)
    await bus.subscribe(jobs, { group: 'g' }, () => {})
    const leaving = await other.subscribe(jobs, { group: 'g' }, () => {})
    await expect
      .poll(async () => (await jsm.streams.info(`KV_${ownersBucket}`, { subjects_filter: `$KV.${ownersBucket}.p.>` })).state.subjects)
      .toSatisfy((parts) => Object.keys(parts ?? {}).length === 16)
    await jsm.streams.delete(streamName('gone.*'))
    await leaving.close({ deadlineMs: 0 })
    const written = async (): Promise<number> => (await jsm.streams.info(`KV_${ownersBucket}`)).state.last_seq
    await sleep(1500)
    const before = await written()
    await sleep(2000)
    // Some two thousand a second, once.
    expect((await written()) - before).toBeLessThan(100)
  }, 60_000)
})
