import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EngineOptions } from '../../src/engines/registry.ts'
import { type Bus, connect, type DeadLetterView, type StoredView } from '../../src/index.ts'
import { Random } from '../../src/testing/random.ts'
import { judge, type Rest, type Verdict } from './checks.ts'
import { Journal } from './journal.ts'
import { group, leaseMs, topic } from './work.ts'

export interface Outcome extends Verdict {
  /** Kept where a rule was broken. */
  readonly journal: string | undefined
  readonly rounds: number
  readonly seed: number
  readonly kills: number
  readonly selfKills: number
  readonly pauses: number
  readonly drains: number
  readonly seconds: number
}

const member = new URL('./member.ts', import.meta.url).pathname
const workers = 3
const publishers = 2
/** Once nobody is killed any more, something must become of a message at least this often. */
const standstillMs = 30_000
const lookEveryMs = 3000
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** A broker that the processes share, in place of an embedded store. */
export interface Broker {
  readonly url: string
  /** Copies of what is stored. */
  readonly replicas: number
  /** How one connects to it, beside the address. */
  readonly options?: EngineOptions
  /** It has no ledger: the processes share one in a file. */
  readonly needsLedger?: boolean
  /** It confirms an acknowledgement before it has written it down: killed, it may give again what was finished then, or so long before. */
  readonly forgetsMs?: number
  /** It gives what somebody is at work on to another, when it is struck. */
  readonly losesLeases?: boolean
  /** What fails goes on as a copy: a death between that and the end of the original leaves both. */
  readonly copiesRetries?: boolean
  /** It keeps no order across members. */
  readonly unordered?: boolean
  /** What was sent and not answered is not sent again: nobody knows whether it is stored. */
  readonly unanswered?: boolean
  /** Something happens to it, in each round. */
  strike(): Promise<void>
}

/** The processes of a run, and the one that kills them. */
class Arena {
  readonly dir = mkdtempSync(join(tmpdir(), 'cozebus-crash-'))
  readonly url: string
  /** Empty: the engine's own. */
  readonly ledger: string
  readonly options: EngineOptions
  readonly order: 'key' | 'none'
  readonly #replicas: number
  readonly journal = new Journal(join(this.dir, 'journal'), 'arena')
  readonly count = { kills: 0, selfKills: 0, pauses: 0, drains: 0 }
  readonly #random: Random
  readonly #live = new Map<string, ChildProcess>()
  readonly #ready = new Map<string, Promise<unknown>>()
  #started = 0
  #ending = false

  constructor(random: Random, broker: Broker | undefined) {
    this.#random = random
    this.url = broker?.url ?? `file:${this.dir}/store`
    this.ledger = broker?.needsLedger === true ? `file:${this.dir}/ledger` : ''
    this.options = broker?.options ?? {}
    this.order = broker?.unordered === true ? 'none' : 'key'
    this.#replicas = broker?.replicas ?? 1
  }

  start(role: 'publish' | 'work'): string {
    const name = `${role === 'publish' ? 'p' : 'w'}${this.#started++}`
    const seed = String(this.#random.below(2 ** 31))
    const words = [
      role,
      this.url,
      join(this.dir, 'journal'),
      name,
      seed,
      String(this.#replicas),
      this.ledger,
      this.order,
      JSON.stringify(this.options),
    ]
    const child = spawn(process.execPath, [member, ...words], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.#ready.set(name, new Promise((resolve) => child.once('message', resolve).once('exit', resolve)))
    this.#live.set(name, child)
    child.once('exit', () => {
      this.#live.delete(name)
      this.journal.note({ what: 'gone' }, name)
      if (role === 'work' && !this.#ending) {
        if (!child.killed) this.count.selfKills++
        this.start('work')
      }
    })
    return name
  }

  /** Resolves once they are connected: on a busy machine that takes longer than a round. */
  async ready(names: readonly string[]): Promise<void> {
    await Promise.all(names.map((name) => this.#ready.get(name)))
  }

  kill(name: string): void {
    const child = this.#live.get(name)
    if (!child) return
    // Before the deed: what others do from here on may rest on this death.
    this.journal.note({ what: 'kill' }, name)
    child.kill('SIGKILL')
    this.count.kills++
  }

  /** One of the workers is killed, told to drain, or stopped for longer than its lease and let go on. */
  async strike(): Promise<void> {
    const names = [...this.#live.keys()].filter((name) => name.startsWith('w'))
    if (names.length === 0) return
    const name = this.#random.pick(names)
    const child = this.#live.get(name)!
    const draw = this.#random.next()
    if (draw < 0.75) this.kill(name)
    else if (draw < 0.85) {
      this.count.drains++
      child.kill('SIGTERM')
    } else {
      this.count.pauses++
      this.journal.note({ what: 'pause' }, name)
      child.kill('SIGSTOP')
      await sleep(leaseMs * 1.3)
      child.kill('SIGCONT')
    }
  }

  /** `keep`: the journal is wanted, to see how a rule was broken. */
  async end(keep: boolean): Promise<void> {
    this.#ending = true
    for (const child of this.#live.values()) child.kill('SIGKILL')
    while (this.#live.size > 0) await sleep(10)
    this.journal.close()
    rmSync(keep ? join(this.dir, 'store') : this.dir, { recursive: true, force: true })
  }
}

/** Publishers and workers in processes of their own, killed at random; then what they did is judged. */
export async function crashRounds(
  rounds: number,
  seed: number,
  onRound: (done: number) => void = () => {},
  broker?: Broker,
  keep = false,
): Promise<Outcome> {
  const begun = performance.now()
  const random = new Random(seed)
  const arena = new Arena(random, broker)
  const forgot: [number, number][] = []
  let broken = true
  try {
    await keepAll(arena)
    // A group that is not there yet may be given nothing of what is published before.
    await arena.ready(Array.from({ length: workers }, () => arena.start('work')))
    for (let round = 0; round < rounds; round++) {
      const names = Array.from({ length: publishers }, () => arena.start('publish'))
      await arena.ready(names)
      await sleep(600)
      for (let strikes = 1 + random.below(3); strikes > 0; strikes--) {
        await sleep(random.below(500))
        await arena.strike()
      }
      const struckAt = Date.now()
      await broker?.strike()
      if (broker?.forgetsMs !== undefined) forgot.push([struckAt - broker.forgetsMs, Date.now()])
      await sleep(300)
      for (const name of names) arena.kill(name)
      onRound(round + 1)
    }
    const { losesLeases = false, copiesRetries = false, unordered = false, unanswered = false } = broker ?? {}
    const rest = { ...(await settle(arena)), forgot, losesLeases, copiesRetries, unordered, unanswered }
    const verdict = judge(arena.journal.read(), rest)
    broken = verdict.violations.length > 0
    return {
      journal: broken || keep ? join(arena.dir, 'journal') : undefined,
      rounds,
      seed,
      ...arena.count,
      ...verdict,
      seconds: Math.round((performance.now() - begun) / 1000),
    }
  } finally {
    await arena.end(broken || keep)
  }
}

function connectTo({ url, ledger, options }: Arena): Promise<Bus> {
  return connect(url, { ...options, ...(ledger === '' ? {} : { ledger }) })
}

/** Waits until nothing is left to do, or as long as that may take. */
async function settle(arena: Arena): Promise<Pick<Rest, 'stored' | 'dead' | 'lag' | 'dedupes'>> {
  await using bus = await connectTo(arena)
  let lag = await bus.admin.lag(topic, group)
  const least = { lag, left: Number.POSITIVE_INFINITY }
  let lookedAt = 0
  for (let quiet = 0, movedAt = Date.now(); Date.now() - movedAt < standstillMs; ) {
    await sleep(100)
    lag = await bus.admin.lag(topic, group)
    quiet = lag === 0 ? quiet + 1 : 0
    // A lag of none is not all: delayed messages are not in the topic yet, and whoever is to send them may be slow. Nor is one
    // that stays: each death gives back all that its process had.
    if (quiet < 10 && Date.now() - lookedAt < lookEveryMs) continue
    const left = await unfinished(arena, bus)
    if (left === 0 && quiet >= 10) break
    lookedAt = Date.now()
    if (quiet >= 10) quiet = 0
    if (lag >= least.lag && left >= least.left) continue
    least.lag = Math.min(lag, least.lag)
    least.left = Math.min(left, least.left)
    movedAt = Date.now()
  }
  return { stored: await allStored(bus), dead: await allDead(bus), lag, dedupes: bus.status().capabilities.dedupeWindowMs > 0 }
}

/** How many were confirmed, and nothing has become of them yet. */
async function unfinished({ journal }: Arena, bus: Bus): Promise<number> {
  const lines = journal.read()
  const over = new Set(lines.flatMap((line) => (line.what === 'done' ? [line.id] : [])))
  for (const { messageId } of await allDead(bus)) over.add(messageId)
  return lines.filter((line) => line.what === 'ok' && !over.has(line.id)).length
}

/** What cannot be browsed a group of the judge's own keeps: on some brokers one that comes late is given nothing of what was before. */
async function keepAll(arena: Arena): Promise<void> {
  await using bus = await connectTo(arena)
  if (!bus.status().capabilities.history) await (await bus.subscribe(topic, { group: 'judge', order: 'none' }, () => {})).close()
}

type StoredMessage = Pick<StoredView, 'id' | 'key'>

async function allStored(bus: Bus): Promise<StoredMessage[]> {
  const all: StoredMessage[] = []
  if (!bus.status().capabilities.history) {
    const judge = await bus.subscribe(topic, { group: 'judge', order: 'none', concurrency: 1 }, ({ id, key }) => void all.push({ id, key }))
    for (let end = Date.now() + standstillMs; Date.now() < end && (await bus.admin.lag(topic, 'judge')) > 0; ) await sleep(100)
    await judge.close()
    return all
  }
  for (let from = 'start'; ; ) {
    const { messages, next } = await bus.admin.browse(topic, { from, limit: 1000 })
    if (messages.length === 0) return all
    all.push(...messages)
    from = next
  }
}

async function allDead(bus: Bus): Promise<DeadLetterView[]> {
  const all: DeadLetterView[] = []
  for await (const letter of bus.admin.deadLetters(topic, group).export()) all.push(letter)
  return all
}
