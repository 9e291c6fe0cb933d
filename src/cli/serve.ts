import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { BusError } from '../errors.ts'
import { createLogger, withoutCredentials } from '../gateway/logger.ts'
import { add, type Common, open, optionsOf, whole } from './command.ts'
import { onStop, paint } from './output.ts'
import { folderOf } from './store-folder.ts'

interface ServeOptions extends Common {
  readonly port: string
  readonly host: string
  readonly logLevel: string
  readonly logFormat: string
  readonly logFile?: string
  readonly maxBody: string
  readonly allowOrigin?: readonly string[]
}

export function addServe(program: Command): void {
  add(program, 'serve', 'serve the bus over HTTP', ['serve', 'serve --port 8080 --url file:./data --log-format json'])
    .addOption(new Option('--port <port>', 'port to listen on; 0 takes a free one').env('PORT').default('4280'))
    .addOption(new Option('--host <host>', 'address to bind; beyond loopback a token is needed').env('COZEBUS_HOST').default('127.0.0.1'))
    .option('--log-level <level>', 'error, warn, info or debug (each request)', 'warn')
    .option('--log-format <format>', 'text or json', 'text')
    .option('--log-file <file>', 'where logs go (appended, opened again at SIGHUP); default standard error')
    .option('--max-body <bytes>', 'largest request', String(8 * 1024 * 1024))
    .option('--allow-origin <origin>', 'pages of this origin may call, for example http://localhost:3000; may be repeated', collect)
    .addHelpText(
      'after',
      '\nCOZEBUS_TOKEN, or the file that COZEBUS_TOKEN_FILE names, holds the token that callers send as Authorization: Bearer.',
    )
    .action((_options, command: Command) => serve(optionsOf<ServeOptions>(command)))
}

function collect(origin: string, all: readonly string[] = []): string[] {
  if (!URL.canParse(origin) || new URL(origin).origin !== origin)
    throw new BusError('invalid_argument', `--allow-origin must be an origin like http://localhost:3000, not '${origin}'`)
  return [...all, origin]
}

/** The token comes by the environment or a file only: arguments can be read by everybody on the machine. */
function readToken(): string | undefined {
  if (process.env.COZEBUS_TOKEN) return process.env.COZEBUS_TOKEN
  const file = process.env.COZEBUS_TOKEN_FILE
  if (!file) return undefined
  let token: string
  try {
    token = readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new BusError('invalid_argument', `the file of COZEBUS_TOKEN_FILE cannot be read: ${(error as Error).message}`, { cause: error })
  }
  if (token === '') throw new BusError('invalid_argument', `the file of COZEBUS_TOKEN_FILE, ${file}, is empty`)
  return token
}

/** Serves the bus over HTTP until it is stopped. */
async function serve(options: ServeOptions): Promise<void> {
  const port = whole(options.port, '--port', 0, 65_535)
  const maxBodyBytes = whole(options.maxBody, '--max-body', 1, 2 ** 31)
  const token = readToken()
  // Loaded here: the other commands need no HTTP, and start sooner without it.
  const { mustBeGuarded, startServer } = await import('../gateway/server.ts')
  // Before a store is made: a refusal leaves nothing behind.
  mustBeGuarded(options.host, token)
  const logger = createLogger({ level: options.logLevel, format: options.logFormat, file: options.logFile })
  const bus = await open(options, { publish: { onError: (error) => logger.log('error', error.message, { code: error.code }) } })
  try {
    const origins = options.allowOrigin ?? []
    const server = await startServer(bus, { port, host: options.host, token, maxBodyBytes, logger, origins })
    if (options.json)
      process.stdout.write(`${JSON.stringify({ url: server.url, store: placeOf(options.url), token: token !== undefined })}\n`)
    else hello(server.url, options.url, token !== undefined)
    logger.log('info', 'listening', { url: server.url, store: placeOf(options.url) })
    if (options.logFile !== undefined) process.on('SIGHUP', () => logger.reopen())
    onStop(async () => {
      logger.log('info', 'draining')
      await server.close()
      await bus.close()
      logger.log('info', 'closed')
      await logger.close()
    })
  } catch (error) {
    await bus.close()
    await logger.close()
    throw error
  }
}

function hello(base: string, url: string, guarded: boolean): void {
  const auth = guarded ? ' -H "Authorization: Bearer $COZEBUS_TOKEN"' : ''
  process.stdout.write(
    `${paint('green', 'cozebus')} listens on ${base} (store: ${placeOf(url)})\n` +
      `  publish:  curl -s ${base}/v1/topics/hello.world/messages -H 'content-type: application/json' -d '{"text":"hi"}'${auth}\n` +
      `  follow:   curl -sN '${base}/v1/topics/hello.world/events?from=start'${auth}\n`,
  )
}

/** Where messages are kept, as a person would look for it. */
function placeOf(url: string): string {
  if (url.startsWith('memory:')) return 'memory, gone when this ends'
  return folderOf(url) ?? withoutCredentials(url)
}
