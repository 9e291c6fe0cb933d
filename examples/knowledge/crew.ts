import { type ChildProcess, fork } from 'node:child_process'
import type { WorkerStatus } from './worker.ts'

export interface Seat {
  readonly number: number
  readonly pid: number | undefined
  readonly status: WorkerStatus
  /** Handled by those who sat here before. */
  readonly before: number
}

const idle: WorkerStatus = { handled: 0, failed: 0, running: 0, delayed: 0, now: [] }
const quickMs = 1000
const quickMost = 5

/** Starts worker processes and starts those that die again, until it is stopped. */
export class Crew {
  readonly #args: readonly string[]
  readonly #say: (line: string) => void
  readonly #children = new Map<number, ChildProcess>()
  readonly #seats: { number: number; pid: number | undefined; status: WorkerStatus; before: number }[]
  #quickDeaths = 0
  #stopping = false
  /** Set when workers die as soon as they start. */
  failed = false

  constructor(size: number, args: readonly string[], say: (line: string) => void) {
    this.#args = args
    this.#say = say
    this.#seats = Array.from({ length: size }, (_, i) => ({ number: i + 1, pid: undefined, status: idle, before: 0 }))
    for (const { number } of this.#seats) this.#start(number)
  }

  get seats(): readonly Seat[] {
    return this.#seats
  }

  #start(number: number): void {
    const seat = this.#seats[number - 1]!
    const startedAt = Date.now()
    const child = fork(new URL('./worker.ts', import.meta.url), this.#args)
    this.#children.set(number, child)
    seat.pid = child.pid
    this.#say(`worker ${number}: pid ${child.pid}`)
    child.on('message', (status) => {
      seat.status = status as WorkerStatus
    })
    child.once('exit', (code, signal) => {
      this.#children.delete(number)
      seat.before += seat.status.handled
      seat.status = idle
      seat.pid = undefined
      if (this.#stopping) return
      this.#say(`worker ${number}: ${signal ? `killed by ${signal}` : `ended with code ${code}`}, is started again`)
      this.#quickDeaths = Date.now() - startedAt < quickMs && code !== null ? this.#quickDeaths + 1 : 0
      if (this.#quickDeaths >= quickMost) this.failed = true
      else this.#start(number)
    })
  }

  /** Workers finish what they have in hand, within the bus's deadline. */
  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all(
      [...this.#children.values()].map(
        (child) =>
          new Promise<void>((resolve) => {
            child.once('exit', () => resolve())
            child.kill('SIGTERM')
          }),
      ),
    )
  }
}
