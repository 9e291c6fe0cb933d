import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { openNsq } from '../../src/engines/nsq/engine.ts'
import { nothingChanged, nothingLost, report } from '../../src/testing/checkers.ts'
import { Harness } from '../../src/testing/harness.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { nsqBroker } from '../crash/brokers.ts'
import { crashRounds } from '../crash/rounds.ts'
import { describeNsq } from '../rig/needs.ts'
import { type NsqNode, startNsqd } from '../rig/nsq.ts'
import { startProxy, type TcpProxy } from '../rig/proxy.ts'

const group = 'g'
const everyMs = 4

/** A steady stream of messages and members that handle them, while something happens to nsqd. */
class Load {
  readonly harness: Harness
  readonly #sentAt = new Map<string, number>()
  readonly #flying = new Set<Promise<unknown>>()
  #timer: NodeJS.Timeout | undefined
  #sent = 0

  constructor(url: () => string, node: NsqNode) {
    const open = () => openNsq(url(), { http: [node.http], reconnectWaitMs: 20, reconnectMaxWaitMs: 100 })
    this.harness = new Harness({ name: 'load', ledger: memoryLedger(), open, patienceMs: 10_000 }, 'load')
  }

  /** Handlers that take a while, so that something is always in hand; `perished` ends the process of a member by force. */
  async join(workMs = 10): Promise<void> {
    const bus = await this.harness.bus({ drain: 3000 })
    await this.harness.subscribe(bus, this.harness.topic, { group, concurrency: 8, lease: '2s' }, () => sleep(Math.random() * 2 * workMs))
  }

  async start(): Promise<void> {
    const publisher = await this.harness.bus()
    this.#timer = setInterval(() => {
      const sent = this.harness
        .publish(publisher, this.harness.topic, { n: this.#sent++ })
        .then((id) => this.#sentAt.set(id, performance.now()))
      this.#flying.add(sent)
      void sent.finally(() => this.#flying.delete(sent))
    }, everyMs)
  }

  /** Resolves once a message that is sent after now is handled. */
  async recovered(): Promise<void> {
    const { history } = this.harness
    const before = history.count('invoke')
    await this.harness.until('messages come again', () => {
      const later = history.entries.filter(({ kind }) => kind === 'invoke').slice(before)
      const done = history.acknowledged(group)
      return later.some((entry) => done.has((entry as { id: string }).id))
    })
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#flying)
  }

  /** Waits until nothing more can come. */
  async settled(): Promise<void> {
    await this.stop()
    const { history } = this.harness
    await this.harness.until('all is handled', () => nothingLost(history, [group]).length === 0).catch(() => {})
  }

  /** When each confirmed message that nobody has handled was confirmed. */
  lost(): number[] {
    const done = this.harness.history.acknowledged(group)
    const confirmed = this.harness.history.entries.flatMap((entry) => (entry.kind === 'ok' ? [entry.id] : []))
    return confirmed.filter((id) => !done.has(id)).map((id) => this.#sentAt.get(id)!)
  }

  /** Handed to a handler, and finished by none. */
  begunAndLost(): string[] {
    const done = this.harness.history.acknowledged(group)
    return this.harness.history.entries.flatMap((entry) => (entry.kind === 'deliver' && !done.has(entry.id) ? [entry.id] : []))
  }

  get repeats(): number {
    const { history } = this.harness
    return history.count('deliver') - history.acknowledged(group).size
  }

  get confirmed(): number {
    return this.harness.history.count('ok')
  }

  async end(): Promise<void> {
    clearInterval(this.#timer)
    await this.harness.end()
  }
}

await describeNsq('an nsqd that dies', () => {
  let load: Load | undefined
  afterEach(() => load?.end())

  test('restarted at random under load: nothing confirmed is lost, and what was in hand is not done again by the same process', async () => {
    await using node = await startNsqd()
    load = new Load(() => node.url, node)
    await load.join()
    await load.start()
    for (let round = 0; round < 4 || load.confirmed <= 100; round++) {
      await sleep(100 + Math.random() * 200)
      await node.restart('SIGTERM')
      await load.recovered()
    }
    await load.settled()
    report([...nothingLost(load.harness.history, [group]), ...nothingChanged(load.harness.history)])
    expect(load.repeats).toBe(0)
  }, 60_000)

  test('the connection drops fifty times, in the middle of what it carries: nothing confirmed is lost', async () => {
    await using node = await startNsqd()
    await using proxy = await startProxy(node.ports.tcp)
    load = new Load(() => `nsq://127.0.0.1:${proxy.port}`, node)
    await load.join()
    await load.join()
    await load.start()
    for (let drop = 0; drop < 50 || load.confirmed <= 200; drop++) {
      proxy.cutAfter(1 + Math.floor(Math.random() * 4000), drop % 2 === 0 ? 'down' : 'up')
      await sleep(50)
    }
    await load.recovered()
    await load.settled()
    report([...nothingLost(load.harness.history, [group]), ...nothingChanged(load.harness.history)])
  }, 60_000)

  test('members that vanish: what they had goes to others after its lease', async () => {
    await using node = await startNsqd()
    const proxies: TcpProxy[] = []
    load = new Load(() => `nsq://127.0.0.1:${proxies.at(-1)!.port}`, node)
    const anew = async (): Promise<TcpProxy> => {
      const proxy = await startProxy(node.ports.tcp)
      proxies.push(proxy)
      return proxy
    }
    await anew()
    await load.start()
    await load.join()
    for (let round = 0; round < 4; round++) {
      const gone = await anew()
      await load.join(40)
      await sleep(150)
      // The process is gone: it hears of nothing and settles nothing any more.
      gone.set({ blackhole: true })
      await gone.refuse()
      gone.cut()
    }
    await load.settled()
    report([...nothingLost(load.harness.history, [group]), ...nothingChanged(load.harness.history)])
    for (const proxy of proxies) await proxy[Symbol.asyncDispose]()
  }, 60_000)

  // NSQ confirms from memory: a kill loses what nsqd had not yet written down, or had on its way to somebody. What it gave us
  // is not lost.
  test('by SIGKILL, with its queues on disk: what a handler has begun is finished, and lost is only what was new', async () => {
    await using node = await startNsqd({ memoryQueue: 0, syncEvery: 1 })
    load = new Load(() => node.url, node)
    await load.join()
    await load.join()
    await load.start()
    const kills: number[] = []
    for (let round = 0; round < 5 || load.confirmed <= 200; round++) {
      await sleep(150 + Math.random() * 300)
      kills.push(performance.now())
      await node.kill()
      await node.start()
      await load.recovered()
    }
    await load.settled()
    report(nothingChanged(load.harness.history))
    expect(load.begunAndLost()).toEqual([])
    const lost = load.lost()
    for (const at of lost) expect(kills.some((kill) => at <= kill + 50 && kill - at < 1500)).toBe(true)
    // A few at each kill: those between nsqd's queues.
    expect(lost.length).toBeLessThan(load.confirmed / 5)
  }, 60_000)

  test('ended and started again, with processes that are killed too: nothing is lost, early or tried for ever', async () => {
    await using node = await startNsqd()
    const outcome = await crashRounds(2, 20_250_102, undefined, nsqBroker(node, 1000))
    expect(outcome.violations).toEqual([])
    expect(outcome.confirmed).toBeGreaterThan(30)
    expect(outcome.kills).toBeGreaterThan(4)
  }, 180_000)
})
