import { createWriteStream, readFileSync } from 'node:fs'
import { serve as listen } from '@hono/node-server'
import { type Bus, connect } from '../bus.ts'
import { BusError } from '../errors.ts'
import { createGateway } from '../gateway/app.ts'
import { onStop, paint } from './output.ts'

export interface ServeOptions {
  readonly url: string
  readonly port: string
  readonly host: string
  readonly logLevel: string
  readonly logFormat: string
  readonly logFile?: string
  readonly maxBody: string
}

const levels = ['error', 'info', 'debug'] as const

function readToken(): string | undefined {
  const file = process.env.COZEBUS_TOKEN_FILE
  const token = process.env.COZEBUS_TOKEN || (file ? readFileSync(file, 'utf8').trim() : undefined)
  if (file && !token) throw new BusError('invalid_argument', 'the file of COZEBUS_TOKEN_FILE is empty')
  return token || undefined
}

/** Serves the bus over HTTP until it is stopped. */
export async function serve(options: ServeOptions): Promise<void> {
  const port = Number(options.port)
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new BusError('invalid_argument', `--port must be a whole number from 0 to 65535, not '${options.port}'`)
  const maxBodyBytes = Number(options.maxBody)
  if (!Number.isInteger(maxBodyBytes) || maxBodyBytes < 1)
    throw new BusError('invalid_argument', `--max-body must be a number of bytes, not '${options.maxBody}'`)
  const level = levels.indexOf(options.logLevel as (typeof levels)[number])
  if (level < 0) throw new BusError('invalid_argument', `--log-level must be one of ${levels.join(', ')}`)
  if (options.logFormat !== 'text' && options.logFormat !== 'json')
    throw new BusError('invalid_argument', '--log-format must be text or json')
  const token = readToken()
  const loopback = ['127.0.0.1', '::1', 'localhost'].includes(options.host)
  if (!loopback && token === undefined)
    throw new BusError('invalid_argument', `binding to ${options.host} lets others in: set COZEBUS_TOKEN or COZEBUS_TOKEN_FILE first`)

  const sink = options.logFile === undefined ? process.stderr : createWriteStream(options.logFile, { flags: 'a' })
  const log = (of: (typeof levels)[number], message: string, fields: Record<string, unknown> = {}): void => {
    if (levels.indexOf(of) > level) return
    const entry = { time: new Date().toISOString(), level: of, message, ...fields }
    sink.write(
      options.logFormat === 'json'
        ? `${JSON.stringify(entry)}\n`
        : `${entry.time} ${of} ${message}${Object.entries(fields)
            .map(([name, value]) => ` ${name}=${value}`)
            .join('')}\n`,
    )
  }

  const bus: Bus = await connect(options.url, { publish: { onError: (error) => log('error', error.message, { code: error.code }) } })
  const app = createGateway(bus, {
    token,
    maxBodyBytes,
    onRequest: (method, path, status, ms) =>
      log(status >= 500 ? 'error' : 'debug', 'request', { method, path, status, ms: Math.round(ms * 10) / 10 }),
  })
  const server = listen({ fetch: app.fetch, port, hostname: options.host }, (info) => {
    const base = `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${info.port}`
    const auth = token === undefined ? '' : ' -H "Authorization: Bearer $COZEBUS_TOKEN"'
    process.stdout.write(
      `${paint('green', 'cozebus')} listens on ${base} (${bus.status().ledger})\n` +
        `  publish:  curl -s ${base}/v1/topics/hello.world/messages -H 'content-type: application/json' -d '{"text":"hi"}'${auth}\n` +
        `  follow:   curl -sN '${base}/v1/topics/hello.world/events?from=start'${auth}\n`,
    )
    log('info', 'listening', { port: info.port })
  })
  server.on('error', (error: NodeJS.ErrnoException) => {
    process.stderr.write(
      error.code === 'EADDRINUSE'
        ? `cozebus: port ${port} is taken; give another by --port or PORT\n`
        : `cozebus: cannot listen: ${error.message}\n`,
    )
    void bus.close().finally(() => process.exit(3))
  })
  onStop(async () => {
    log('info', 'draining')
    server.close()
    // Followers would keep the server open for ever; they come back with Last-Event-ID.
    if ('closeAllConnections' in server) setTimeout(() => server.closeAllConnections(), 1000).unref()
    await bus.close()
    log('info', 'closed')
  })
}
