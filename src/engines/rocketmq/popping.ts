import { type BusError, toBusError } from '../../errors.ts'
import type { Source } from '../engine.ts'
import type { Broker } from './cluster.ts'
import type { Connection, Pool } from './connection.ts'
import { PopDelivery, type Receipt } from './delivery.ts'
import { refused, unavailable } from './failure.ts'
import { decodeMessages, type WireMessage } from './message.ts'
import { retryPrefix } from './names.ts'
import { answer, type Fields, type Frame, request } from './protocol.ts'

/** A broker gives no more at once. */
const mostAtOnce = 32
/** How long a broker may wait for something to come, ms. What comes again because its time was over wakes nobody. */
const pollMs = 1000
const sharedPollMs = 400
const answerMs = 10_000
const againMs = 200
const mostAgainMs = 3000

export interface Popping {
  readonly pool: Pool
  readonly group: string
  readonly leaseMs: number
  /** Those of the queues that are this member's, where it shares them with classic clients; undefined: all, as it comes. */
  queues(): readonly number[] | undefined
  /** Called before something is taken over a new connection: the broker may have forgotten the group, and would begin it anew. */
  connected(): Promise<void>
  /** How many more there is room for, at this moment. */
  wanted(): number
  take(deliveries: readonly PopDelivery[]): void
  /** What is no message: it is acknowledged, and that is all. */
  discard(deliveries: readonly PopDelivery[]): void
  /** Why nothing comes, or that it does again. */
  trouble(error: BusError | undefined): void
}

/** Takes messages of one topic from one broker, as long as somebody wants them. */
export class Popper {
  readonly broker: Broker
  readonly #source: Source
  readonly #topic: string
  readonly #popping: Popping
  readonly #ended: Promise<void>
  #stopped = false
  #wake: (() => void) | undefined
  #waitMs = againMs
  #turn = 0
  #known: Connection | undefined

  constructor(broker: Broker, source: Source, topic: string, popping: Popping) {
    this.broker = broker
    this.#source = source
    this.#topic = topic
    this.#popping = popping
    this.#ended = this.#run()
  }

  wake(): void {
    this.#wake?.()
  }

  /** Resolves once nothing more can come. */
  stop(): Promise<void> {
    this.#stopped = true
    this.wake()
    return this.#ended
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const wanted = Math.min(mostAtOnce, this.#popping.wanted())
      const queues = this.#popping.queues()
      if (wanted <= 0 || queues?.length === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        this.#wake = undefined
        continue
      }
      try {
        await this.#pop(wanted, queues)
        this.#waitMs = againMs
      } catch (error) {
        this.#popping.trouble(toBusError(error, 'engine_unavailable'))
        await this.#pause()
      }
    }
  }

  async #pause(): Promise<void> {
    const waitMs = this.#waitMs
    this.#waitMs = Math.min(mostAgainMs, waitMs * 2)
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, waitMs)
      this.#wake = () => {
        if (!this.#stopped) return
        clearTimeout(timer)
        resolve()
      }
    })
    this.#wake = undefined
  }

  async #pop(wanted: number, queues: readonly number[] | undefined): Promise<void> {
    const { pool, group, leaseMs } = this.#popping
    const fields: Fields = {
      consumerGroup: group,
      topic: this.#topic,
      queueId: queues === undefined ? '-1' : String(queues[this.#turn++ % queues.length]),
      maxMsgNums: String(wanted),
      invisibleTime: String(Math.ceil(leaseMs)),
      // In turn: none of them may hold up the others for long.
      pollTime: String(queues === undefined || queues.length === 1 ? pollMs : Math.ceil(sharedPollMs / queues.length)),
      bornTime: String(Date.now()),
      initMode: '0',
      expType: 'TAG',
      exp: '*',
      order: 'false',
    }
    const what = `group '${group}' on topic '${this.#topic}'`
    let frame: Frame
    try {
      const connection = await pool.to(this.broker.address)
      if (connection !== this.#known) await this.#popping.connected()
      this.#known = connection
      if (this.#stopped) return
      frame = await connection.ask(request.pop, fields, what, undefined, pollMs + answerMs)
    } catch (error) {
      throw unavailable(error)
    }
    if (frame.code === answer.ok) this.#take(frame)
    else if (frame.code === answer.pollingFull) throw refused(frame, what)
    else if (frame.code !== answer.pollingTimeout && frame.code !== answer.nothing) throw refused(frame, what)
    this.#popping.trouble(undefined)
  }

  #take({ fields, body }: Frame): void {
    const now = performance.now()
    const starts = new Map(
      (fields['startOffsetInfo'] ?? '').split(';').map((entry) => {
        const [retry, queue, start] = entry.split(' ')
        return [`${retry}@${queue}`, start ?? '']
      }),
    )
    const { group, leaseMs, take, discard } = this.#popping
    const delivery = (message: WireMessage): PopDelivery => {
      const receipt = receiptOf(message, fields, starts, group, this.#topic, this.broker.name)
      return new PopDelivery(message, this.#source, group, this.broker, receipt, leaseMs, now)
    }
    const messages = decodeMessages(body)
    take(messages.filter(({ isTorn }) => !isTorn).map(delivery))
    const torn = messages.filter(({ isTorn }) => isTorn)
    if (torn.length > 0) discard(torn.map(delivery))
  }
}

/** As PopMessageResponseHeader and ExtraInfoUtil of the Java client have it. */
function receiptOf(
  message: WireMessage,
  fields: Fields,
  starts: ReadonlyMap<string, string>,
  group: string,
  topic: string,
  broker: string,
): Receipt {
  const { queueId, offset } = message
  const isRetry = message.topic.startsWith(retryPrefix) && message.topic !== topic
  const guessed = isRetry ? (message.topic.includes('+') ? '2' : '1') : '0'
  const text =
    message.properties.get('POP_CK') ??
    [
      starts.get(`${guessed}@${queueId}`) ?? offset,
      fields['popTime'],
      fields['invisibleTime'],
      fields['reviveQid'],
      guessed,
      broker,
      queueId,
      offset,
    ].join(' ')
  const retry = text.split(' ')[4]
  const liesIn = isRetry
    ? message.topic
    : retry === '1'
      ? `${retryPrefix}${group}_${topic}`
      : retry === '2'
        ? `${retryPrefix}${group}+${topic}`
        : topic
  return { topic: liesIn, queueId, offset, text }
}
