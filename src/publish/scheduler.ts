import type { Engine, Outgoing } from '../engines/engine.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Events } from '../observe/events.ts'

/**
 * Delays for engines that have none: the message waits in the ledger under its due time and is published when that has
 * come. The process that took it in does so; others step in when it is overdue, as that process is gone then. The ledger's
 * record goes after the publish, so a crash between repeats the message and never loses it.
 */
const pollMs = 100
/** How long others wait for the process that took a message in. */
const graceMs = 5000

export class Scheduler {
  readonly #engine: Engine
  readonly #ledger: Ledger
  readonly #events: Events
  #timer: NodeJS.Timeout | undefined
  #busy: Promise<void> | undefined
  readonly #own = new Set<string>()
  #closed = false

  constructor(engine: Engine, ledger: Ledger, events: Events) {
    this.#engine = engine
    this.#ledger = ledger
    this.#events = events
  }

  start(): void {
    if (this.#timer || this.#closed) return
    this.#timer = setInterval(() => {
      this.#busy ??= this.#run().finally(() => {
        this.#busy = undefined
      })
    }, pollMs)
    this.#timer.unref()
  }

  async keep(message: Outgoing): Promise<void> {
    const { body, ...meta } = message
    const text = Buffer.from(JSON.stringify(meta))
    const length = Buffer.alloc(4)
    length.writeUInt32BE(text.length)
    const key = `${String(message.deliverAt).padStart(16, '0')}/${message.id}`
    this.#own.add(key)
    await this.#ledger.write([{ space: 'schedules', key, value: Buffer.concat([length, text, body]) }])
    this.start()
  }

  async #run(): Promise<void> {
    try {
      const now = Date.now()
      const due = (await this.#ledger.list('schedules', '', { limit: 100 })).filter(
        ({ key }) => Number(key.slice(0, 16)) + (this.#own.has(key) ? 0 : graceMs) <= now,
      )
      if (due.length === 0) return
      const outcomes = await this.#engine.publish(due.map(({ value }) => parse(value)))
      const sent = due.filter((_, i) => outcomes[i]!.ok)
      await this.#ledger.write(sent.map(({ key }) => ({ space: 'schedules', key, value: undefined })))
      for (const { key } of sent) this.#own.delete(key)
    } catch (error) {
      this.#events.warn('scheduled messages could not be published; trying again', error)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await this.#busy
  }
}

function parse(value: Uint8Array): Outgoing {
  const view = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const end = 4 + view.readUInt32BE(0)
  const meta = JSON.parse(view.toString('utf8', 4, end)) as Omit<Outgoing, 'body'>
  return { ...meta, body: value.subarray(end), deliverAt: undefined }
}
