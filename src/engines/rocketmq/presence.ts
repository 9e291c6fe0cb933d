import type { Broker } from './cluster.ts'
import type { Pool } from './connection.ts'
import { unavailable } from './failure.ts'
import { request } from './protocol.ts'

/** A broker forgets who is silent for two minutes. */
const beatMs = 10_000

export interface Present {
  readonly groups: () => ReadonlySet<string>
  readonly client: () => string
  readonly topics: (group: string) => readonly string[]
  readonly brokers: () => readonly Broker[]
}

/** That a member is there, told to the brokers again and again: it is listed, and Go's clients share the queues with it. */
export class Presence {
  readonly #pool: Pool
  readonly #present: Present
  readonly #timer: NodeJS.Timeout
  /** As what each broker knows it. */
  readonly #known = new Map<string, { readonly broker: Broker; readonly client: string }>()
  #isHeard = true

  constructor(pool: Pool, present: Present) {
    this.#pool = pool
    this.#present = present
    this.#timer = setInterval(() => void this.beat().catch(() => {}), beatMs).unref()
  }

  /** Whether all brokers have heard it since one of them was lost. */
  get isHeard(): boolean {
    return this.#isHeard
  }

  lost(): void {
    this.#isHeard = false
  }

  /** @throws BusError `engine_unavailable` when a broker does not answer; the others know all the same */
  async beat(): Promise<void> {
    const told = await Promise.allSettled(this.#present.brokers().map((broker) => this.beatTo(broker)))
    const failed = told.find((one) => one.status === 'rejected')
    this.#isHeard = failed === undefined
    if (failed) throw unavailable(failed.reason)
  }

  async beatTo(broker: Broker): Promise<void> {
    const { topics } = this.#present
    const groups = [...this.#present.groups()]
    const client = this.#present.client()
    const body = Buffer.from(
      JSON.stringify({
        clientID: client,
        producerDataSet: [],
        consumerDataSet: groups.map((groupName) => ({
          groupName,
          consumeType: 'CONSUME_PASSIVELY',
          messageModel: 'CLUSTERING',
          consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
          subscriptionDataSet: topics(groupName).map((topic) => ({
            classFilterMode: false,
            topic,
            subString: '*',
            tagsSet: [],
            codeSet: [],
            subVersion: Date.now(),
            expressionType: 'TAG',
          })),
          unitMode: false,
        })),
      }),
    )
    await (await this.#pool.to(broker.address)).ask(request.heartbeat, {}, 'a member', body)
    this.#known.set(broker.name, { broker, client })
  }

  async #leave({ broker, client }: { readonly broker: Broker; readonly client: string }): Promise<void> {
    const connection = await this.#pool.to(broker.address)
    for (const consumerGroup of this.#present.groups())
      await connection.ask(request.unregister, { clientID: client, consumerGroup }, `group '${consumerGroup}'`)
  }

  async end(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.allSettled([...this.#known.values()].map((one) => this.#leave(one)))
  }
}
