import { setTimeout as sleep } from 'node:timers/promises'
import { jetstream } from '@nats-io/jetstream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { patientApi } from '../../src/engines/nats/api.ts'
import { Buckets } from '../../src/engines/nats/buckets.ts'
import { Connection } from '../../src/engines/nats/connection.ts'
import { resolveTarget } from '../../src/engines/nats/dial.ts'
import { ownersBucket } from '../../src/engines/nats/names.ts'
import { Owners } from '../../src/engines/nats/owners.ts'
import { Random } from '../../src/testing/random.ts'
import { type NatsNode, startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { startProxy, type TcpProxy } from '../rig/proxy.ts'
import { eager } from './support.ts'

const parts = 16
const ttlMs = 1000
const steps = 25
const mostMembers = 5

/** One member of a group, behind a network of its own. */
class Member {
  readonly name: string
  readonly owned = new Map<number, number>()
  readonly #proxy: TcpProxy
  readonly #connection: Connection
  readonly #owners: Owners

  private constructor(
    name: string,
    proxy: TcpProxy,
    connection: Connection,
    buckets: Buckets,
    kv: Awaited<ReturnType<Buckets['get']>>,
    scope: string,
    random: Random,
    epochs: number[],
    wrong: string[],
  ) {
    this.name = name
    this.#proxy = proxy
    this.#connection = connection
    this.#owners = new Owners(kv, (pattern) => buckets.keys(ownersBucket, pattern), connection, scope, name, parts, ttlMs, {
      assigned: async (part, epoch) => {
        this.owned.set(part, epoch)
        // Whoever writes with an older epoch is refused by it: each owner's is higher than all before.
        if (epoch <= epochs[part]!) wrong.push(`part ${part}: epoch ${epoch} after ${epochs[part]}`)
        epochs[part] = epoch
      },
      revoked: (part, epoch) => {
        if (this.owned.get(part) === epoch) this.owned.delete(part)
      },
      drained: async () => {
        await sleep(random.below(30))
      },
    })
  }

  static async join(server: NatsNode, name: string, scope: string, random: Random, epochs: number[], wrong: string[]): Promise<Member> {
    const proxy = await startProxy(server.port)
    const connection = await Connection.open(resolveTarget(`nats://127.0.0.1:${proxy.port}`, { ...eager, pingIntervalMs: 300 }))
    const js = jetstream(connection.nc, { timeout: 1000 })
    const buckets = new Buckets(js, patientApi(await js.jetstreamManager(false)), {})
    const member = new Member(name, proxy, connection, buckets, await buckets.get(ownersBucket), scope, random, epochs, wrong)
    await member.#owners.start()
    return member
  }

  holds(part: number): boolean {
    const epoch = this.owned.get(part)
    return epoch !== undefined && this.#owners.holds(part, epoch)
  }

  get count(): number {
    return Array.from({ length: parts }, (_, part) => this.holds(part)).filter(Boolean).length
  }

  cut(): void {
    this.#proxy.cut()
  }

  async silence(ms: number): Promise<void> {
    this.#proxy.set({ blackhole: true })
    await sleep(ms)
    this.#proxy.set({ blackhole: false })
  }

  async slow(ms: number): Promise<void> {
    this.#proxy.set({ delayMs: 150, jitterMs: 150 })
    await sleep(ms)
    this.#proxy.set({ delayMs: 0, jitterMs: 0 })
  }

  /** Its network goes and does not come back. */
  async vanish(): Promise<void> {
    await this.#proxy.refuse()
    this.#proxy.cut()
  }

  async leave(): Promise<void> {
    await this.#owners.close()
    await this.#connection.close()
    await this.#proxy.close()
  }
}

await describeNats('who owns which part', (version) => {
  let server: NatsNode
  beforeAll(async () => {
    server = await startNats({ version })
  })
  afterAll(() => server.stop())

  test.each([1, 2])(
    'members that join, leave, vanish, and lose their network: never two owners, in the end all parts are shared evenly (%i)',
    async (run) => {
      const seed = (Date.now() + run * 7919) % 1_000_000_000
      const random = new Random(seed)
      const scope = `s${seed}`
      const epochs = new Array<number>(parts).fill(0)
      let members: Member[] = []
      const gone: Member[] = []
      const silences: Promise<void>[] = []
      let made = 0
      const join = async (): Promise<number> => members.push(await Member.join(server, `m${made++}`, scope, random, epochs, wrong))
      const wrong: string[] = []
      const watch = setInterval(() => {
        for (let part = 0; part < parts; part++) {
          const holders = [...members, ...gone].filter((member) => member.holds(part))
          if (holders.length > 1) wrong.push(`part ${part} is held by ${holders.map(({ name }) => name)}`)
        }
      }, 2)
      try {
        for (let step = 0; step < steps; step++) {
          const member = members.length > 0 ? random.pick(members) : undefined
          const draw = random.next()
          if (!member || (draw < 0.3 && members.length < mostMembers)) await join()
          else if (draw < 0.5) member.cut()
          else if (draw < 0.8) silences.push(member.silence(random.below(ttlMs * 2)))
          else {
            members = members.filter((other) => other !== member)
            gone.push(member)
            await (draw < 0.9 ? member.leave() : member.vanish())
          }
          await sleep(random.below(200))
        }
        await Promise.all(silences)
        if (members.length === 0) await join()
        const shares = (): number[] => members.map(({ count }) => count).sort((a, b) => a - b)
        const even = members.map((_, i) => Math.floor((parts + i) / members.length))
        await expect.poll(shares, { timeout: 20_000, message: `seed ${seed}` }).toEqual(even)
        expect(wrong, `seed ${seed}`).toEqual([])
      } finally {
        clearInterval(watch)
        await Promise.all([...members, ...gone].map((member) => member.leave()))
      }
    },
    60_000,
  )
})
