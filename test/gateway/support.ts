import { afterAll } from 'vitest'
import { createGateway, type Gateway, type GatewayOptions } from '../../src/gateway/app.ts'
import { type Bus, type ConnectOptions, connect } from '../../src/index.ts'

export interface Served {
  readonly bus: Bus
  readonly app: Gateway
  /** The answer, read as JSON. */
  call(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<{ status: number; body: any; headers: Headers }>
}

/** A gateway over a bus in memory, without a port; closed after the file's tests. */
export async function served(options: GatewayOptions = {}, connectOptions: ConnectOptions = {}): Promise<Served> {
  const bus = await connect('memory:', connectOptions)
  const app = createGateway(bus, options)
  afterAll(async () => {
    await app.close()
    await bus.close()
  })
  return {
    bus,
    app,
    async call(method, path, body, headers = {}) {
      const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }
      const type = body === undefined ? {} : { 'content-type': 'application/json' }
      const response = await app.request(path, { method, ...sent, headers: { ...type, ...headers } })
      const text = await response.text()
      return { status: response.status, body: text === '' ? undefined : JSON.parse(text), headers: response.headers }
    },
  }
}

export interface ServerEvent {
  readonly id: string
  /** Undefined for the first one, which only says where the stream begins. */
  readonly data: any
}

/** Reads server-sent events until `done` says so or the stream ends; leaves like a client that goes away. */
export async function readEvents(response: Response, done: (events: readonly ServerEvent[]) => boolean): Promise<ServerEvent[]> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  const events: ServerEvent[] = []
  let text = ''
  try {
    while (!done(events)) {
      const { value, done: ended } = await reader.read()
      if (ended) break
      text += value
      for (let end = text.indexOf('\n\n'); end >= 0 && !done(events); end = text.indexOf('\n\n')) {
        const block = text.slice(0, end)
        text = text.slice(end + 2)
        const id = /^id: (.*)$/m.exec(block)?.[1]
        const data = /^data: (.*)$/m.exec(block)?.[1]
        if (id !== undefined) events.push({ id, data: data === undefined ? undefined : JSON.parse(data) })
      }
    }
  } catch {
    // The server went away: what came until then counts.
  }
  await reader.cancel().catch(() => {})
  return events
}

/** Those with a message. */
export function messages(events: readonly ServerEvent[]): ServerEvent[] {
  return events.filter(({ data }) => data !== undefined)
}
