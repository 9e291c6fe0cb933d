import { expect, test } from 'vitest'
import type { Said } from './child.ts'
import { child, engine, joinGroup, message, sleep, source, temporary, text } from './support.ts'

type Got = { id: string; key: string | undefined; position: string; at: number; until: number; redelivered: boolean; process: number }

/** What children say, gathered. */
class Ears {
  readonly got: Got[] = []
  readonly confirmed: string[] = []
  ready = 0
  done = 0

  hear(process_: ReturnType<typeof child>): void {
    process_.on('message', (said: Said) => {
      if ('ready' in said) this.ready++
      else if ('done' in said) this.done++
      else if ('confirmed' in said) this.confirmed.push(...said.confirmed)
      else this.got.push(...said.got.map((one) => ({ ...one, process: process_.pid! })))
    })
  }

  async until(condition: () => boolean, ms: number, what: string): Promise<void> {
    for (const end = Date.now() + ms; !condition(); await sleep(10))
      if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what} (${this.got.length} got, ${this.confirmed.length} confirmed)`)
  }
}

const spec = (more: object) => ({
  group: 'g',
  sources: [source('a')],
  order: 'key' as const,
  orderScope: 'group' as const,
  leaseMs: 60_000,
  member: 'child',
  credit: 8,
  workMs: 1,
  ...more,
})

test('two processes share a group: everything once, each key in order and in one place', async () => {
  const dir = temporary()
  const ears = new Ears()
  const consumers = [0, 1].map((n) => child({ dir, consume: spec({ member: `child${n}` }) }))
  for (const one of consumers) ears.hear(one)
  await ears.until(() => ears.ready === 2, 10_000, 'consumers start')
  const publishers = [0, 1].map((n) => child({ dir, publish: { storage: 'a', count: 500, batch: 10, keys: 10, tag: `p${n}-` } }))
  for (const one of publishers) ears.hear(one)
  await ears.until(() => ears.done === 2 && ears.got.length >= 1000, 25_000, 'all are handled')
  expect(new Set(ears.got.map(({ id }) => id))).toEqual(new Set(ears.confirmed))
  expect(ears.got.length).toBe(1000)
  expect(new Set(ears.got.map(({ process }) => process)).size).toBe(2)
  const byKey = Map.groupBy(ears.got, ({ key }) => key)
  for (const list of byKey.values()) {
    list.sort((a, b) => a.at - b.at)
    expect(list.map(({ position }) => Number(position))).toEqual(list.map(({ position }) => Number(position)).sort((a, b) => a - b))
    for (let i = 1; i < list.length; i++)
      if (list[i]!.process !== list[i - 1]!.process) expect(list[i]!.at).toBeGreaterThanOrEqual(list[i - 1]!.until)
  }
})

test('what a killed process held is free within seconds, long before its lease ends', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  await bus.publish(['1', '2', '3'].map((body) => message('a', body, { key: 'k' })))
  const ears = new Ears()
  const holder = child({ dir, consume: spec({ hold: true, workMs: 0 }) })
  ears.hear(holder)
  await ears.until(() => ears.got.length === 3, 10_000, 'the child has all')
  const hand = await joinGroup(bus, 'g', [source('a')], { order: 'key', leaseMs: 60_000 })
  expect((await bus.admin.groups('a'))[0]).toMatchObject({ members: 2, inHand: 3 })
  await sleep(100)
  expect(hand.all.length).toBe(0)
  const died = Date.now()
  holder.kill('SIGKILL')
  await hand.until(3)
  expect(Date.now() - died).toBeLessThan(4000)
  expect(hand.texts).toEqual(['1', '2', '3'])
  expect(hand.all.every(({ redelivered }) => redelivered)).toBe(true)
  expect((await bus.admin.groups('a'))[0]).toMatchObject({ members: 1, inHand: 3 })
})

test('publishers that are killed lose nothing that was confirmed', async () => {
  const dir = temporary()
  const ears = new Ears()
  for (let round = 0; round < 3; round++) {
    const publisher = child({ dir, publish: { storage: 'a', count: 1_000_000, batch: 50, keys: 0, tag: `r${round}-` } })
    ears.hear(publisher)
    const before = ears.confirmed.length
    await ears.until(() => ears.confirmed.length > before + 500, 10_000, 'it publishes')
    publisher.kill('SIGKILL')
    await new Promise((resolve) => publisher.once('exit', resolve))
  }
  const bus = await engine({ dir })
  const stored = new Set<string>()
  for (let after = '0'; ; ) {
    const page = await bus.read('a', after, 1000)
    for (const { id } of page.messages) stored.add(id)
    if (page.messages.length === 0) break
    after = page.next
  }
  expect(ears.confirmed.filter((id) => !stored.has(id))).toEqual([])
  expect((await bus.admin.topics())[0]!.messages).toBe(stored.size)
})

test('what another process publishes arrives at once, and costs little while nothing comes', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  const other = await engine({ dir })
  const hand = await joinGroup(bus, 'g', [source('a')])
  await sleep(100)
  const delays: number[] = []
  for (let i = 0; i < 60; i++) {
    const at = performance.now()
    hand.onDeliver = () => delays.push(performance.now() - at)
    await other.publish([message('a', String(i))])
    await hand.until(i + 1)
    await sleep(5)
  }
  delays.sort((a, b) => a - b)
  expect(delays[30]).toBeLessThan(50)
  expect(delays.at(-3)).toBeLessThan(250)
  await hand.settle('ack', hand.all)
  await sleep(100)
  const before = process.cpuUsage()
  await sleep(1500)
  const used = process.cpuUsage(before)
  expect((used.user + used.system) / 1500_000).toBeLessThan(0.08)
})

test('questions are answered across processes, once a group, and a dead responder is none', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  const ask = (name: string, ms = 3000) =>
    bus.requests!.request({ name, id: 'q', headers: undefined, body: Buffer.from('?'), at: Date.now() }, ms)
  await expect(ask('agent.7.ask')).rejects.toMatchObject({ code: 'no_responders' })
  const ears = new Ears()
  const responder = child({ dir, answer: { pattern: 'agent.*.ask', group: 'agents' } })
  ears.hear(responder)
  await ears.until(() => ears.ready === 1, 10_000, 'the responder starts')
  expect(text(await ask('agent.7.ask'))).toBe(`${responder.pid}:agent.7.ask`)
  await expect(ask('agent.7.other')).rejects.toMatchObject({ code: 'no_responders' })
  responder.kill('SIGKILL')
  await new Promise((resolve) => responder.once('exit', resolve))
  await sleep(1100)
  await expect(ask('agent.7.ask')).rejects.toMatchObject({ code: 'no_responders' })
})

test('a process with an idle store ends by itself, one with a subscription does not', async () => {
  const { spawn } = await import('node:child_process')
  const run = (script: string): Promise<string> =>
    new Promise((resolve) => {
      const started = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: 'ignore',
        cwd: new URL('../../', import.meta.url),
      })
      const timer = setTimeout(() => {
        started.kill('SIGKILL')
        resolve('alive')
      }, 4000)
      started.once('exit', (code) => {
        clearTimeout(timer)
        resolve(`exit ${code}`)
      })
    })
  const open = `import { openEmbedded } from './src/engines/embedded/engine.ts'; const bus = await openEmbedded({ dir: ${JSON.stringify(temporary())} });`
  const sink = '{ deliver() {}, lost() {}, assigned() {}, revoked() {} }'
  const subscribe = `await bus.subscribe({ group: 'g', sources: [{ storage: 'a', filter: undefined, lanes: 'a', from: 'earliest' }], order: 'none', orderScope: 'group', leaseMs: 1000, member: 'm' }, ${sink});`
  expect(await run(open)).toBe('exit 0')
  expect(await run(`${open} bus.ledger.watch('pauses', '', () => {}); bus.admin.watchTopics(() => {});`)).toBe('exit 0')
  expect(await run(open + subscribe)).toBe('alive')
})
