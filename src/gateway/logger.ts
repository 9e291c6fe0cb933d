import { createWriteStream, openSync, type WriteStream } from 'node:fs'
import { BusError } from '../errors.ts'

export const logLevels = ['error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof logLevels)[number]
export type LogFields = Readonly<Record<string, unknown>>

export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void
  /** Goes on in a new file of the same name: what rotates logs moves the old one away first. */
  reopen(): void
  close(): Promise<void>
}

export const silent: Logger = { log: () => {}, reopen: () => {}, close: async () => {} }

export interface LoggerOptions {
  readonly level: string
  readonly format: string
  /** Appended to; standard error without it. */
  readonly file?: string | undefined
}

const secret = /token|authorization|password|secret|cookie/i

/** One line an entry. @throws BusError `invalid_argument` */
export function createLogger({ level, format, file }: LoggerOptions): Logger {
  const most = logLevels.indexOf(level as LogLevel)
  if (most < 0) throw new BusError('invalid_argument', `--log-level must be one of ${logLevels.join(', ')}, not '${level}'`)
  if (format !== 'text' && format !== 'json') throw new BusError('invalid_argument', `--log-format must be text or json, not '${format}'`)
  let sink = file === undefined ? undefined : openLog(file)
  const line = format === 'json' ? jsonLine : textLine
  return {
    log(of, message, fields = {}) {
      if (logLevels.indexOf(of) > most) return
      const shown = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, secret.test(name) ? '[hidden]' : value]))
      const target = sink ?? process.stderr
      target.write(line(new Date().toISOString(), of, withoutCredentials(message), shown))
    },
    reopen() {
      if (file === undefined) return
      const old = sink
      try {
        sink = openLog(file)
        old?.end()
      } catch (error) {
        this.log('error', 'the log file cannot be opened again; the old one is kept', { reason: (error as Error).message })
      }
    },
    close: () => new Promise((resolve) => (sink ? sink.end(() => resolve()) : resolve())),
  }
}

/** @throws BusError `invalid_argument` where the file cannot be written */
function openLog(file: string): WriteStream {
  let fd: number
  try {
    fd = openSync(file, 'a')
  } catch (error) {
    throw new BusError('invalid_argument', `the log file ${file} cannot be written: ${(error as Error).message}`, { cause: error })
  }
  const stream = createWriteStream('', { fd })
  // A full disk must not end the bus; the first failure is told where it can be seen.
  stream.once('error', (error) => process.stderr.write(`cozebus: the log file cannot be written: ${error.message}\n`))
  return stream.on('error', () => {})
}

/** `nats://user:pass@host` without what only the broker may know. */
export function withoutCredentials(text: string): string {
  return text.replace(/\/\/[^@/\s]*@/g, '//…@')
}

function jsonLine(time: string, level: LogLevel, message: string, fields: LogFields): string {
  return `${JSON.stringify({ time, level, message, ...fields })}\n`
}

/** Values that could be mistaken for more fields, or break the line, are quoted. */
function textLine(time: string, level: LogLevel, message: string, fields: LogFields): string {
  const pairs = Object.entries(fields).map(([name, value]) => {
    const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
    return ` ${name}=${/^[\x21-\x7e]*$/.test(text) ? text : JSON.stringify(text)}`
  })
  return `${time} ${level.padEnd(5)} ${message.replaceAll(/[\r\n]+/g, ' ')}${pairs.join('')}\n`
}
