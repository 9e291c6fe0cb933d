import { BusError } from '../errors.ts'
import { channels } from '../observe/events.ts'
import type { Logger } from './logger.ts'

interface Event {
  readonly storage: string
  readonly group: string
}

/** Counts what the bus tells on its channels, by topic and group. A process without a gateway pays nothing. */
export class Counters {
  readonly published = new Map<string, number>()
  readonly handled = new Map<string, number>()
  readonly handledMs = new Map<string, number>()
  readonly failed = new Map<string, number>()
  readonly deadLettered = new Map<string, number>()
  warnings = 0
  readonly #stops: (() => void)[] = []

  constructor(logger: Logger) {
    this.#on(channels.published, (event: { storage: string; messages: number }) => add(this.published, event.storage, event.messages))
    this.#on(channels.handled, (event: Event & { ms: number }) => {
      add(this.handled, pair(event), 1)
      add(this.handledMs, pair(event), event.ms)
    })
    this.#on(channels.failed, (event: Event) => add(this.failed, pair(event), 1))
    this.#on(channels.deadLettered, (event: Event) => add(this.deadLettered, pair(event), 1))
    this.#on(channels.warning, ({ message, error }: { message: string; error: unknown }) => {
      this.warnings++
      // Never the error's text: it may quote a body.
      logger.log('warn', message, { error: error instanceof BusError ? error.code : error instanceof Error ? error.name : typeof error })
    })
  }

  #on<T>(channel: (typeof channels)[keyof typeof channels], listener: (event: T) => void): void {
    const heard = (event: unknown): void => listener(event as T)
    channel.subscribe(heard)
    this.#stops.push(() => channel.unsubscribe(heard))
  }

  close(): void {
    for (const stop of this.#stops.splice(0)) stop()
  }
}

/** Topic and group in one key; neither can hold a line break. */
function pair({ storage, group }: Event): string {
  return `${storage}\n${group}`
}

function add(counts: Map<string, number>, key: string, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by)
}
