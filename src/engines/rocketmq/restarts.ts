import { beside } from './beside.ts'
import type { Broker } from './cluster.ts'
import type { Connection, Pool } from './connection.ts'
import type { Groups } from './groups.ts'
import { answer, request } from './protocol.ts'

/** A broker that was away has forgotten who owns what: those who did say it again before anybody takes what seems free. */
export const graceOf = (returnMs: number): number => Math.max(5000, returnMs)
/** What it takes a broker to start and read its log, and a little: one that is up for less may have been killed a moment ago. */
const youngMs = 30_000

interface Life {
  readonly connection: Connection
  /** When the broker began it, by its own clock; undefined where it may not be asked. */
  readonly bootAt: number | undefined
  /** When it was first seen to take connections in it, `performance.now()`. */
  readonly since: number
  /** Whether it may have forgotten what was told to one before. */
  readonly fresh: boolean
}

/**
 * Brokers that may have been started a moment ago, while others have not come back to say again what they own. Whoever saw one
 * take connections for long enough leaves a note of that, so that who comes later need not wait as long once more.
 */
export class Restarts {
  readonly #pool: Pool
  readonly #groups: Groups
  readonly #graceMs: number
  readonly #lives = new Map<string, Life>()
  readonly #noted = new Set<string>()

  constructor(pool: Pool, groups: Groups, graceMs: number) {
    this.#pool = pool
    this.#graceMs = graceMs
    this.#groups = groups
  }

  /** The names of those that are, or cannot be asked. */
  async young(group: string, topic: string, brokers: readonly Broker[]): Promise<Set<string>> {
    const young = new Set<string>()
    await Promise.all(
      brokers.map(async (broker) => {
        if (await this.#isYoung(group, topic, broker).catch(() => true)) young.add(broker.name)
      }),
    )
    return young
  }

  async #isYoung(group: string, topic: string, broker: Broker): Promise<boolean> {
    const { fresh, since, bootAt } = await this.#lifeOf(broker)
    if (!fresh) return false
    const note = `${group}\n${topic}\n${broker.name}\n${bootAt}`
    if (performance.now() - since >= this.#graceMs) {
      if (bootAt !== undefined && !this.#noted.has(note)) {
        await this.#groups.commit(group, topic, { broker, id: beside.calm }, bootAt)
        this.#noted.add(note)
      }
      return false
    }
    return bootAt === undefined || (await this.#groups.committed(group, topic, { broker, id: beside.calm })) !== bootAt
  }

  async #lifeOf(broker: Broker): Promise<Life> {
    const connection = await this.#pool.to(broker.address)
    const known = this.#lives.get(broker.name)
    if (known?.connection === connection) return known
    const { openedAt } = connection
    // By this connection: it is the life that it belongs to.
    const frame = await connection.ask(request.runtime, {}, broker.name)
    if (frame.code === answer.busy) throw new Error(`${broker.name} cannot say yet`)
    const text = frame.body.toString()
    const [bootAt, upMs] = [numberOf(/"bootTimestamp":"(\d+)"/, text), upMsOf(text)]
    const life: Life =
      known !== undefined && known.bootAt === bootAt && bootAt !== undefined
        ? { ...known, connection }
        : { connection, bootAt, since: openedAt, fresh: known !== undefined || (upMs !== undefined && upMs < youngMs) }
    this.#lives.set(broker.name, life)
    return life
  }
}

const numberOf = (pattern: RegExp, text: string): number | undefined => {
  const found = pattern.exec(text)
  return found ? Number(found[1]) : undefined
}

function upMsOf(text: string): number | undefined {
  const found = /"runtime":"\[ (\d+) days, (\d+) hours, (\d+) minutes, (\d+) seconds \]"/.exec(text)
  if (!found) return undefined
  const [days, hours, minutes, seconds] = found.slice(1).map(Number)
  return (((days! * 24 + hours!) * 60 + minutes!) * 60 + seconds!) * 1000
}
