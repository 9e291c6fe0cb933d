// What docs promise of several processes, with bounds that hold on a busy machine; `npm run bench -- processes --check` holds what docs say.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/index.ts'
import { sleep, temporary } from './support.ts'

async function start(role: string, url: string): Promise<ChildProcess> {
  const child = fork(new URL('../../bench/process-member.ts', import.meta.url), [role, url], { execArgv: [] })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  await once(child, 'message')
  return child
}

async function ask<Answer>(child: ChildProcess, word: string): Promise<Answer> {
  const answer = once(child, 'message')
  child.send(word)
  return (await answer)[0]
}

test('an idle consumer costs next to nothing, and is woken by what another process publishes', async () => {
  const url = `file:${temporary()}`
  const listener = await start('listen', url)
  await using bus = await connect(url)
  await sleep(500)
  const before = await ask<number>(listener, 'cpu')
  await sleep(3000)
  expect(((await ask<number>(listener, 'cpu')) - before) / 3_000_000).toBeLessThan(0.05)
  const delays: number[] = []
  for (let i = 0; i < 60; i++) {
    const heard = once(listener, 'message')
    const begun = performance.timeOrigin + performance.now()
    await bus.publish('bench', i)
    delays.push((await heard)[0] - begun)
    await sleep(10)
  }
  delays.sort((a, b) => a - b)
  expect(delays[30]).toBeLessThan(50)
  expect(delays[57]).toBeLessThan(300)
})

test('four writing processes do not hold each other’s event loops', async () => {
  const url = `file:${temporary()}`
  const writers = await Promise.all([0, 1, 2, 3].map(() => start('write', url)))
  const results = await Promise.all(writers.map((one) => ask<{ p99: number; rate: number }>(one, 'go')))
  for (const { p99, rate } of results) {
    expect(p99).toBeLessThan(150)
    expect(rate).toBeGreaterThan(100)
  }
  const counted = await (async () => {
    await using bus = await connect(url)
    return (await bus.admin.topics())[0]!.messages
  })()
  // Everyone counts what was confirmed: all of it is there.
  expect(counted).toBeGreaterThanOrEqual(Math.round(results.reduce((sum, { rate }) => sum + rate * 3, 0)))
}, 90_000)
