// What several processes on one store cost each other: one group shared by four against one, waking, idling, and event loops under four writers.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '../src/index.ts'
import { spread } from './spread.ts'

// Long enough that warm code counts, not the start of four processes.
const backlog = 600_000
const member = new URL('./process-member.ts', import.meta.url)
const body = new Uint8Array(256).fill(7)
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function inFolder<Result>(action: (url: string) => Promise<Result>): Promise<Result> {
  const dir = mkdtempSync(join(tmpdir(), 'cozebus-bench-'))
  try {
    return await action(`file:${dir}`)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** A process that has connected; `ask` waits for its next word. */
async function start(role: string, url: string) {
  const child = fork(member, [role, url], { execArgv: [] })
  await once(child, 'message')
  return {
    said: (): Promise<unknown> => once(child, 'message').then(([word]) => word),
    ask: (word: string): Promise<unknown> => {
      const answer = once(child, 'message')
      child.send(word)
      return answer.then(([said]) => said)
    },
    onWord: (listener: (word: number) => void): void => void child.on('message', listener as (word: unknown) => void),
    end: async (): Promise<void> => {
      const gone = once(child, 'exit')
      child.kill('SIGTERM')
      await gone
    },
  }
}

/** A backlog that is there already, handled by members of one group: messages a second. */
const shared = (count: number): Promise<number> =>
  inFolder(async (url) => {
    const bus = await connect(url)
    for (let i = 0; i < backlog; i += 1000)
      await bus.publishMany(
        'bench',
        Array.from({ length: 1000 }, () => body),
      )
    await bus.close()
    const members = await Promise.all(Array.from({ length: count }, () => start('work', url)))
    let left = backlog
    const done = new Promise<void>((resolve) => {
      for (const one of members)
        one.onWord((handled) => {
          left -= handled
          if (left <= 0) resolve()
        })
    })
    const begun = performance.now()
    for (const one of members) void one.ask('go')
    await done
    const rate = (backlog / (performance.now() - begun)) * 1000
    for (const one of members) await one.end()
    return rate
  })

/** From a publish in this process to the handler in another, ms. */
const waking = (): Promise<number[]> =>
  inFolder(async (url) => {
    const listener = await start('listen', url)
    const bus = await connect(url)
    const delays: number[] = []
    for (let i = 0; i < 200; i++) {
      const heard = listener.said()
      const begun = performance.timeOrigin + performance.now()
      await bus.publish('bench', { i })
      delays.push(((await heard) as number) - begun)
      await sleep(20)
    }
    await bus.close()
    await listener.end()
    return delays.sort((a, b) => a - b)
  })

/** Of a core, by a consumer to whom nobody sends anything. */
const idle = (): Promise<number> =>
  inFolder(async (url) => {
    const listener = await start('listen', url)
    await sleep(500)
    const before = (await listener.ask('cpu')) as number
    await sleep(5000)
    const used = ((await listener.ask('cpu')) as number) - before
    await listener.end()
    return used / 5_000_000
  })

/** Four processes publish as fast as they can: how long each one's event loop was held, p99 and most, ms; and messages a second. */
const writers = (): Promise<{ p99: number; most: number; rate: number }> =>
  inFolder(async (url) => {
    const members = await Promise.all([0, 1, 2, 3].map(() => start('write', url)))
    const results = (await Promise.all(members.map((one) => one.ask('go')))) as { p99: number; most: number; rate: number }[]
    for (const one of members) await one.end()
    return {
      p99: Math.max(...results.map(({ p99 }) => p99)),
      most: Math.max(...results.map(({ most }) => most)),
      rate: results.reduce((sum, { rate }) => sum + rate, 0),
    }
  })

const say = (what: string, value: string): void => console.log(`${what.padEnd(58)} ${value}`)

/** What docs/guarantees.md promises of several processes. */
const most = { wakeMs: 50, idle: 0.02, loopMs: 50 } as const

/** One group shared by four processes against one, waking, idling, and event loops under four writers. Adds to `missed` which bounds do not hold. */
export async function processes(rounds: number, missed: string[]): Promise<void> {
  const check = (what: string, value: number, bound: number, unit: string): void => {
    if (value > bound) missed.push(`${what}: ${value.toFixed(1)} ${unit}, at most ${bound} ${unit}`)
  }
  const rates: Record<1 | 4, number[]> = { 1: [], 4: [] }
  for (let round = 0; round < rounds; round++) for (const count of [1, 4] as const) rates[count].push(await shared(count))
  say('handle a backlog, one process, messages a second', Math.round(spread(rates[1]).median).toString())
  say('handle a backlog, four processes sharing the group', Math.round(spread(rates[4]).median).toString())
  say('four against one', `${(spread(rates[4]).median / spread(rates[1]).median).toFixed(2)} ×`)
  const delays = await waking()
  say('publish to a handler in another process, p50 and p99', `${delays[100]!.toFixed(1)} and ${delays[197]!.toFixed(1)} ms`)
  check('publish to a handler in another process, p99', delays[197]!, most.wakeMs, 'ms')
  const used = await idle()
  say('an idle consumer, of a core', `${(used * 100).toFixed(2)} %`)
  check('an idle consumer, of a core', used * 100, most.idle * 100, '%')
  const held = await writers()
  say('event loop of four writing processes, p99 and most', `${held.p99.toFixed(1)} and ${held.most.toFixed(1)} ms`)
  check('event loop of four writing processes, p99', held.p99, most.loopMs, 'ms')
  say('four processes publish, messages a second together', Math.round(held.rate).toString())
}
