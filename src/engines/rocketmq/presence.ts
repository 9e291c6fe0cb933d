import type { Broker } from './cluster.ts'
import type { Pool } from './connection.ts'
import { unavailable } from './failure.ts'
import { clientId } from './groups.ts'
import type { Read } from './joining.ts'
import { retryPrefix } from './names.ts'
import { request } from './protocol.ts'

/** A broker forgets who is silent for two minutes. */
const beatMs = 10_000

/** That a member is there, told to the brokers again and again: it is listed, and Go's clients share the queues with it. */
export class Presence {
  readonly #pool: Pool
  readonly #member: string
  readonly #readings: () => readonly Read[]
  readonly #timer: NodeJS.Timeout
  /** As what each broker knows it. */
  readonly #known = new Map<string, { readonly broker: Broker; readonly client: string }>()
  #isHeard = true

  /** `readings`: what the member reads at that moment. */
  constructor(pool: Pool, member: string, readings: () => readonly Read[]) {
    this.#pool = pool
    this.#member = member
    this.#readings = readings
    this.#timer = setInterval(() => void this.beat().catch(() => {}), beatMs).unref()
  }

  /** What it is called on the brokers: that tells what it reads. */
  get client(): string {
    const readings = this.#readings().filter(({ topic }) => !topic.startsWith(retryPrefix))
    return clientId(
      this.#member,
      readings.map(({ topic }) => topic),
      readings.map(({ source }) => source.lanes),
    )
  }

  /** Whether all brokers have heard it since one of them was lost. */
  get isHeard(): boolean {
    return this.#isHeard
  }

  /** A broker was lost, and may have forgotten it: all of them are told at once. */
  lost(): void {
    this.#isHeard = false
    void this.beat().catch(() => {})
  }

  /** @throws BusError `engine_unavailable` when a broker does not answer; the others know all the same */
  async beat(): Promise<void> {
    const brokers = new Map(this.#readings().flatMap(({ route }) => route.brokers.map((broker) => [broker.name, broker])))
    const told = await Promise.allSettled([...brokers.values()].map((broker) => this.beatTo(broker)))
    const failed = told.find((one) => one.status === 'rejected')
    this.#isHeard = failed === undefined
    if (failed) throw unavailable(failed.reason)
  }

  async beatTo(broker: Broker): Promise<void> {
    const { client } = this
    const byGroup = Map.groupBy(this.#readings(), ({ group }) => group)
    const body = Buffer.from(
      JSON.stringify({
        clientID: client,
        producerDataSet: [],
        consumerDataSet: [...byGroup].map(([groupName, readings]) => ({
          groupName,
          consumeType: 'CONSUME_PASSIVELY',
          messageModel: 'CLUSTERING',
          consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
          subscriptionDataSet: readings.map(({ topic }) => ({
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
    for (const consumerGroup of new Set(this.#readings().map(({ group }) => group)))
      await connection.ask(request.unregister, { clientID: client, consumerGroup }, `group '${consumerGroup}'`)
  }

  async end(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.allSettled([...this.#known.values()].map((one) => this.#leave(one)))
  }
}
