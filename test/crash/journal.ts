import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'

/** What one process of the crash test did. Times are ms since the epoch; `who` is a process, never used twice. */
export type Line = { readonly at: number; readonly who: string } & (
  | { readonly what: 'try'; readonly id: string; readonly key: string | undefined; readonly digest: string; readonly delay: number }
  | { readonly what: 'ok'; readonly id: string; readonly duplicate: boolean }
  | { readonly what: 'refused'; readonly id: string; readonly error: string; readonly unknown: boolean }
  | {
      readonly what: 'begin'
      readonly id: string
      readonly key: string | undefined
      readonly digest: string
      readonly attempt: number
      readonly fence: number
    }
  | { readonly what: 'done' | 'fail'; readonly id: string; readonly fence: number }
  /** It is a dead letter; the broker is told after this. */
  | { readonly what: 'buried'; readonly id: string }
  /** `kill`: by a signal it could not see, or by its own hand; `pause`: stopped for longer than a lease; `leave`: a drain began. */
  | { readonly what: 'start' | 'kill' | 'pause' | 'leave' | 'gone' }
)

type Open<T> = T extends unknown ? Omit<T, 'at' | 'who'> : never

/**
 * One file that all processes append to. A line is written before the next step is taken and outlives the process that
 * wrote it, so the order of lines is the order of what happened.
 */
export class Journal {
  readonly #file: string
  readonly #fd: number
  readonly #who: string

  constructor(file: string, who: string) {
    this.#file = file
    this.#who = who
    this.#fd = openSync(file, 'a')
  }

  note(line: Open<Line>, who = this.#who): void {
    writeSync(this.#fd, `${JSON.stringify({ at: Date.now(), who, ...line })}\n`)
  }

  read(): Line[] {
    return readFileSync(this.#file, 'utf8')
      .split('\n')
      .filter((text) => text !== '')
      .map((text) => JSON.parse(text) as Line)
  }

  close(): void {
    closeSync(this.#fd)
  }
}
