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
const batchMost = 100

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
      const due = await this.#due(Date.now())
      if (due.length === 0) return
      const values = await this.#ledger.read('schedules', due)
      const keys = due.filter((_, i) => values[i] !== undefined)
      const outcomes = await this.#engine.publish(values.filter((value) => value !== undefined).map(parse))
      const sent = keys.filter((_, i) => outcomes[i]!.ok)
      await this.#ledger.write(sent.map((key) => ({ space: 'schedules', key, value: undefined })))
      for (const key of sent) this.#own.delete(key)
    } catch (error) {
      this.#events.warn('scheduled messages could not be published; trying again', error)
    }
  }

  /** Keys begin with their time: those that are due come first, own ones and others' mixed. */
  async #due(now: number): Promise<string[]> {
    const due: string[] = []
    let after: string | undefined
    for (;;) {
      const page = await this.#ledger.keys('schedules', '', { after, limit: 500 })
      for (const key of page) {
        const at = Number(key.slice(0, 16))
        if (at > now) return due
        if (this.#own.has(key) || at + graceMs <= now) due.push(key)
        if (due.length === batchMost) return due
      }
      if (page.length < 500) return due
      after = page.at(-1)!
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
