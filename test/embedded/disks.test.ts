import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { BusError, connect } from '../../src/index.ts'
import { mountSmallDisk, sleep } from './support.ts'

test('a bus on a full disk refuses, waits without turning, and goes on where it stood once there is room', async ({ skip }) => {
  const dir = mountSmallDisk()
  if (!dir) return skip('mounting a small disk needs root')
  const ballast = join(dir, 'ballast')
  writeFileSync(ballast, Buffer.alloc(1024 * 1024))
  const bus = await connect(`file:${dir}`, { drain: 1000 })
  onTestFinished(() => bus.close())
  const confirmed: number[] = []
  let refused: unknown
  for (let i = 0; i < 200 && refused === undefined; i++) {
    try {
      await bus.publish('docs', { i, text: 'x'.repeat(30_000) })
      confirmed.push(i)
    } catch (error) {
      refused = error
    }
  }
  expect(refused).toMatchObject({ code: 'store_full', message: expect.stringContaining('free space') })
  expect(confirmed.length).toBeGreaterThan(5)

  // The group may be refused, or find that its claims do not fit.
  const handled: number[] = []
  const enter = () => bus.subscribe('docs', { group: 'g', concurrency: 4 }, (message) => void handled.push(message.body.i))
  const first = await enter().catch((error: BusError) => error)
  if (first instanceof BusError) expect(first.code).toBe('store_full')
  expect(await bus.health()).toMatchObject({ ok: false, detail: expect.stringContaining('full') })
  const [before, begun] = [process.cpuUsage(), performance.now()]
  await sleep(2000)
  const { user, system } = process.cpuUsage(before)
  expect((user + system) / 1000 / (performance.now() - begun)).toBeLessThan(0.3)
  expect(new Set(handled).size).toBe(handled.length)

  rmSync(ballast)
  await bus.publish('docs', { i: 1000 })
  if (first instanceof BusError) await enter()
  await expect.poll(() => handled.toSorted((a, b) => a - b)).toEqual([...confirmed, 1000])
  expect(await bus.health()).toMatchObject({ ok: true })
  await expect.poll(() => bus.admin.lag('docs', 'g')).toBe(0)
})

test('a disk that is mounted read-only is refused as such, and what is there is left as it is', async ({ skip }) => {
  const dir = mountSmallDisk()
  if (!dir) return skip('mounting a disk needs root')
  const bus = await connect(`file:${dir}`)
  await bus.publish('docs', 1)
  await bus.close()
  const before = readFileSync(join(dir, 'bus.db'))
  execFileSync('mount', ['-o', 'remount,ro', dir])
  const refused = { code: 'store_readonly', message: expect.stringMatching(/cannot be written.*(EROFS|read-only)/) }
  await expect(connect(`file:${dir}`)).rejects.toMatchObject(refused)
  await expect(connect(`file:${join(dir, 'below')}`)).rejects.toMatchObject(refused)
  expect(readFileSync(join(dir, 'bus.db')).equals(before)).toBe(true)
})

test('R1: on a full disk each of many publishes at once is answered, and close ends', async ({ skip }) => {
  const dir = mountSmallDisk()
  if (!dir) return skip('mounting a small disk needs root')
  const bus = await connect(`file:${dir}`)
  const answers: Promise<string>[] = []
  // In ticks of their own: several operations of one turn, of which the first ones fit.
  for (let i = 0; i < 300; i++) {
    answers.push(
      bus.publish('docs', 'x'.repeat(20_000), { timeout: 2000 }).then(
        () => 'stored',
        (thrown: unknown) => (thrown as BusError).code,
      ),
    )
    await new Promise((resolve) => setImmediate(resolve))
  }
  const codes = await Promise.all(answers)
  expect(new Set(codes)).toEqual(new Set(['stored', 'store_full']))
  await bus.close()
}, 30_000)
