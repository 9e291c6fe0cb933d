import { relative } from 'node:path'
import type { Seat } from './crew.ts'

export interface Progress {
  readonly done: number
  readonly total: number
  readonly deadLetters: number
  readonly documents: number
  readonly seats: readonly Seat[]
}

/** The rate is that of the last seconds: what a worker that was killed did before says nothing of now. */
const rateWindowMs = 5000
const barLength = 24

/** Progress as a block that is drawn over itself on a terminal, and as a line a second elsewhere. */
export class Display {
  readonly #out = process.stdout
  #marks: { at: number; done: number }[] = []
  #drawn = 0
  #lineAt = 0
  #last = ''

  show(progress: Progress, now = Date.now()): void {
    const line = this.#summary(progress, now)
    if (this.#out.isTTY) {
      this.#clear()
      const lines = [line, ...progress.seats.map(seatLine)].map((text) => text.slice(0, this.#out.columns - 1))
      this.#out.write(`${lines.join('\n')}\n`)
      this.#drawn = lines.length
    } else if (line !== this.#last && now - this.#lineAt >= 1000) {
      this.#out.write(`${line}\n`)
      this.#lineAt = now
    }
    this.#last = line
  }

  /** A line that stays, above the block. */
  say(text: string): void {
    this.#clear()
    this.#out.write(`${text}\n`)
  }

  #clear(): void {
    if (this.#drawn > 0) this.#out.write(`\x1b[${this.#drawn}A\x1b[J`)
    this.#drawn = 0
  }

  #summary({ done, total, deadLetters, documents, seats }: Progress, now: number): string {
    this.#marks.push({ at: now, done })
    this.#marks = this.#marks.filter(({ at }) => now - at <= rateWindowMs)
    const first = this.#marks[0]!
    const rate = now > first.at ? ((done - first.done) / (now - first.at)) * 1000 : 0
    const fraction = total === 0 ? 1 : done / total
    const full = Math.round(fraction * barLength)
    const retrying = seats.reduce((sum, { status }) => sum + status.delayed, 0)
    const parts = [
      `${'█'.repeat(full)}${'░'.repeat(barLength - full)} ${done}/${total}`,
      `${rate.toFixed(rate < 10 ? 1 : 0)}/s`,
      rate > 0 && done < total ? `${Math.ceil((total - done) / rate)} s left` : undefined,
      `${documents} documents`,
      retrying > 0 ? `${retrying} to be tried again` : undefined,
      deadLetters > 0 ? `${deadLetters} dead letter${deadLetters === 1 ? '' : 's'}` : undefined,
    ]
    return parts.filter((part) => part !== undefined).join('  ')
  }
}

function seatLine({ number, pid, status, before }: Seat): string {
  const job = status.now[0]
  const doing = job ? `${Math.round(job.fraction * 100)} % ${nearer(job.path)}${job.note ? `, ${job.note}` : ''}` : ''
  return `  worker ${number}  ${String(pid ?? '-').padEnd(7)} ${String(before + status.handled).padStart(5)} done  ${status.running} running  ${doing}`
}

/** As the reader would type it, where that is shorter. */
export function nearer(path: string): string {
  const from = relative(process.cwd(), path)
  return from.length < path.length ? from : path
}
