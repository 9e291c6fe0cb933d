import type { Broker } from './cluster.ts'
import type { Pool } from './connection.ts'
import { unavailable } from './failure.ts'
import { request } from './protocol.ts'

/** A broker forgets who is silent for two minutes. */
const beatMs = 10_000

export interface Present {
  readonly group: string
  readonly client: () => string
  readonly topics: () => readonly string[]
  readonly brokers: () => readonly Broker[]
}

/** That a member is there, told to the brokers again and again: it is listed, and Go's clients share the queues with it. */
export class Presence {
  readonly #pool: Pool
  readonly #present: Present
  readonly #timer: NodeJS.Timeout
  /** As what each broker knows it. */
  readonly #known = new Map<string, { readonly broker: Broker; readonly client: string }>()

  constructor(pool: Pool, present: Present) {
    this.#pool = pool
    this.#present = present
    this.#timer = setInterval(() => void this.beat().catch(() => {}), beatMs).unref()
  }

  /** @throws BusError `engine_unavailable` when a broker does not answer; the others know all the same */
  async beat(): Promise<void> {
    const { group, topics, brokers } = this.#present
    const client = this.#present.client()
    const body = Buffer.from(
      JSON.stringify({
        clientID: client,
        producerDataSet: [],
        consumerDataSet: [
          {
            groupName: group,
            consumeType: 'CONSUME_PASSIVELY',
            messageModel: 'CLUSTERING',
            consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
            subscriptionDataSet: topics().map((topic) => ({
              classFilterMode: false,
              topic,
              subString: '*',
              tagsSet: [],
              codeSet: [],
              subVersion: Date.now(),
              expressionType: 'TAG',
            })),
            unitMode: false,
          },
        ],
      }),
    )
    const told = await Promise.allSettled(
      brokers().map(async (broker) => {
        const before = this.#known.get(broker.name)
        if (before && before.client !== client) await this.#leave(before)
        await (await this.#pool.to(broker.address)).ask(request.heartbeat, {}, `group '${group}'`, body)
        this.#known.set(broker.name, { broker, client })
      }),
    )
    const failed = told.find((one) => one.status === 'rejected')
    if (failed) throw unavailable(failed.reason)
  }

  async #leave({ broker, client }: { readonly broker: Broker; readonly client: string }): Promise<void> {
    const fields = { clientID: client, consumerGroup: this.#present.group }
    await (await this.#pool.to(broker.address)).ask(request.unregister, fields, `group '${this.#present.group}'`)
  }

  async end(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.allSettled([...this.#known.values()].map((one) => this.#leave(one)))
  }
}
