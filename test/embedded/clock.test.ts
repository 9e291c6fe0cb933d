import { type ChildProcess, spawn } from 'node:child_process'
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/index.ts'
import { sleep, temporary } from './support.ts'

const hour = 3600_000

/** Processes whose clocks are wrong by the same, and what they say. */
class Clockwork {
  readonly dir = temporary()
  readonly url = `file:${join(this.dir, 'store')}`
  readonly heard: string[][] = []
  readonly #file = join(this.dir, 'shift')

  constructor() {
    this.shift(0)
  }

  shift(ms: number): void {
    writeFileSync(`${this.#file}.new`, String(ms || '0.0'))
    renameSync(`${this.#file}.new`, this.#file)
  }

  async start(role: string): Promise<ChildProcess> {
    const child = spawn(
      process.execPath,
      ['--import', new URL('./clock.ts', import.meta.url).href, new URL('./clock-member.ts', import.meta.url).pathname, role, this.url],
      { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, SHIFT_FILE: this.#file } },
    )
    onTestFinished(() => {
      child.kill('SIGKILL')
    })
    const lines = createInterface({ input: child.stdout! })
    lines.on('line', (line) => this.heard.push([...line.split(' '), String(child.pid)]))
    await new Promise((resolve) => lines.once('line', resolve))
    return child
  }

  said(what: string): string[][] {
    return this.heard.filter(([first]) => first === what)
  }

  async until(condition: () => boolean, ms: number, what: string): Promise<void> {
    for (const end = Date.now() + ms; !condition(); await sleep(20)) if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`)
  }
}

test('a clock that jumps forwards and back loses nothing, keeps each key’s order, and makes nobody run hot', async () => {
  const works = new Clockwork()
  const workers = [await works.start('work'), await works.start('work')]
  const publisher = await works.start('publish')
  for (const ms of [hour, -2 * hour, 0, 10 * 24 * hour, 0]) {
    const before = works.said('done').length
    works.shift(ms)
    await works.until(() => works.said('done').length > before + 40, 20_000, `work goes on after the clock was set to ${ms} ms`)
  }
  publisher.kill('SIGKILL')
  const done = (): Set<string> => new Set(works.said('done').map(([, id]) => id!))
  await works.until(() => works.said('ok').every(([, id]) => done().has(id!)), 20_000, 'everything confirmed is handled')
  const orders = new Map<string, number[]>()
  const seen = new Set<string>()
  for (const [, id, key, i] of works.said('done')) {
    if (key === '-' || seen.has(id!)) continue
    seen.add(id!)
    orders.set(key!, [...(orders.get(key!) ?? []), Number(i)])
  }
  for (const [key, order] of orders) expect(order, key).toEqual(order.toSorted((a, b) => a - b))
  // One in ten fails once; a jump may cost the leases of what is in hand, and no more.
  expect(works.said('begin').length).toBeLessThan(done().size * 1.1 + 400)
  await sleep(500)
  const used = (pid: number): number => Number(works.said('cpu').findLast((line) => line.at(-1) === String(pid))![1])
  const before = workers.map(({ pid }) => used(pid!))
  await sleep(2000)
  for (const [i, { pid }] of workers.entries()) expect((used(pid!) - before[i]!) / 2_000_000).toBeLessThan(0.25)
  await using bus = await connect(works.url)
  expect([await bus.admin.lag('clock', 'g'), await bus.admin.deadLetters('clock', 'g').count()]).toEqual([0, 0])
}, 120_000)

test('after the clock was set back, what a dead process held is still free within seconds', async () => {
  const works = new Clockwork()
  const holder = await works.start('hold')
  await using bus = await connect(works.url)
  await bus.publish('clock', { i: 0, kind: 'plain' }, { key: 'k' })
  await works.until(() => works.said('begin').length === 1, 10_000, 'the holder has it')
  await works.start('work')
  // Long enough that the worker has seen the holder alive.
  await sleep(2500)
  works.shift(-hour)
  await sleep(300)
  holder.kill('SIGKILL')
  await works.until(() => works.said('done').length === 1, 8000, 'the worker gets it')
}, 60_000)

test('a group that was slowed down by an outage comes back though the clock was set back', async () => {
  const works = new Clockwork()
  await works.start('fail')
  await using bus = await connect(works.url)
  for (let i = 0; i < 10; i++) await bus.publish('clock', { i }, { key: `k${i}` })
  await sleep(1000)
  works.shift(-hour)
  await works.until(() => works.said('done').length === 10, 20_000, 'all are handled')
}, 60_000)
