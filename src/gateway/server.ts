import type { Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import type { Bus } from '../bus.ts'
import { BusError } from '../errors.ts'
import { createGateway, type GatewayOptions } from './app.ts'
import { isLoopback } from './guard.ts'

export interface ServerOptions extends GatewayOptions {
  readonly port: number
  readonly host: string
}

export interface RunningServer {
  readonly url: string
  /** Takes no more, ends streams, lets requests finish; cuts those that do not. The bus stays open. */
  close(): Promise<void>
}

/** How long requests may finish when the server closes. */
const graceMs = 10_000

/** @throws BusError `invalid_argument` for a bind beyond loopback without a token, `conflict` for a port in use */
export async function startServer(bus: Bus, options: ServerOptions): Promise<RunningServer> {
  mustBeGuarded(options.host, options.token)
  const gateway = createGateway(bus, options)
  const server = createAdaptorServer({ fetch: gateway.fetch }) as Server
  try {
    await listen(server, options)
  } catch (error) {
    await gateway.close()
    throw error
  }
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : options.port
  return {
    url: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      // A connection that is kept alive becomes idle once its request has its answer.
      const idle = setInterval(() => server.closeIdleConnections(), 50)
      const cut = setTimeout(() => server.closeAllConnections(), graceMs)
      await gateway.close()
      await closed
      clearInterval(idle)
      clearTimeout(cut)
    },
  }
}

/** Whoever reaches the port can read and delete everything: beyond this machine nobody may without a token. */
export function mustBeGuarded(host: string, token: string | undefined): void {
  if (token !== undefined || isLoopback(host)) return
  throw new BusError(
    'invalid_argument',
    `binding to ${host} lets other machines in: set COZEBUS_TOKEN or COZEBUS_TOKEN_FILE first, or bind to 127.0.0.1`,
  )
}

function listen(server: Server, { port, host }: ServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, port, host)))
    server.listen(port, host, () => {
      server.removeAllListeners('error')
      resolve()
    })
  })
}

function listenError(error: NodeJS.ErrnoException, port: number, host: string): BusError {
  if (error.code === 'EADDRINUSE')
    return new BusError('conflict', `port ${port} on ${host} is taken; give another by --port or PORT`, { cause: error })
  if (error.code === 'EACCES')
    return new BusError('invalid_argument', `port ${port} needs rights this user has not; use one above 1023`, { cause: error })
  return new BusError('invalid_argument', `cannot listen on ${host}:${port}: ${error.message}`, { cause: error })
}
