import { styleText } from 'node:util'
import { BusError, errorTable, toBusError } from '../errors.ts'
import { parseExact } from '../message/exact-json.ts'

/** Rows under their names: a table on a terminal, columns parted by tabs in a pipe, a JSON array with --json. */
export function table(rows: readonly Record<string, unknown>[], json = false): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(rows)}\n`)
    return
  }
  if (rows.length === 0) {
    process.stderr.write('nothing\n')
    return
  }
  const names = Object.keys(rows[0]!)
  const cells = rows.map((row) => names.map((name) => show(row[name])))
  if (!process.stdout.isTTY) {
    process.stdout.write(`${[names, ...cells].map((row) => row.join('\t')).join('\n')}\n`)
    return
  }
  const widths = names.map((name, i) => Math.max(name.length, ...cells.map((row) => row[i]!.length)))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd()
  process.stdout.write(`${paint('bold', line(names))}\n${cells.map(line).join('\n')}\n`)
}

function show(value: unknown): string {
  if (value === undefined || value === null) return '-'
  if (value instanceof Date) return value.toISOString()
  return plain(typeof value === 'object' ? JSON.stringify(value) : String(value))
}

/** One line, and nothing that a terminal would obey: whoever publishes chooses keys and errors. */
export function plain(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll(/\p{Cc}/gu, '')
}

/** One thing done: a line for people, an object for programs. */
export function done(result: Record<string, unknown>, sentence: string, json = false): void {
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`)
  else process.stderr.write(`${sentence}\n`)
}

/** Colour on a terminal only, and never with NO_COLOR or --no-color. */
export function paint(style: 'bold' | 'green' | 'red' | 'yellow' | 'dim', text: string): string {
  return process.stdout.isTTY && !process.env.NO_COLOR ? styleText(style, text) : text
}

/** Rewrites one line of a terminal's standard error; silent elsewhere. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

/** Says what went wrong and ends with the code of the table. */
export function fail(thrown: unknown): never {
  const error = toBusError(thrown)
  process.stderr.write(`cozebus: ${error.message}\n`)
  if (process.env.COZEBUS_DEBUG) process.stderr.write(`${(error.cause instanceof Error ? error.cause : error).stack}\n`)
  process.exit(errorTable[error.code].exit)
}

const echoMs = 250

/** Calls back at the first Ctrl-C or SIGTERM; a second one ends the process at once. */
export function onStop(stop: () => Promise<void>): void {
  let stoppedAt: number | undefined
  const handle = (): void => {
    // One Ctrl-C may come twice: from the terminal, and from npm, which passes it on.
    if (stoppedAt !== undefined && performance.now() - stoppedAt < echoMs) return
    if (stoppedAt !== undefined) process.exit(130)
    stoppedAt = performance.now()
    process.stderr.write('draining… (once more to quit at once)\n')
    stop().then(() => process.exit(0), fail)
  }
  process.on('SIGINT', handle)
  process.on('SIGTERM', handle)
}

export function parseJson(text: string, what: string): unknown {
  try {
    return parseExact(text)
  } catch (error) {
    throw new BusError('invalid_message', `${what} is no JSON: ${text.slice(0, 80)}`, { cause: error })
  }
}
