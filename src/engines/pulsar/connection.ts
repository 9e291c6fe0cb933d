import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { BusError, toBusError } from '../../errors.ts'
import { type Address, addressText } from '../address.ts'
import { readPems } from '../pem.ts'
import { isTlsFailure, serverNameOf } from '../tls.ts'
import { refused, refusedMessage } from './failure.ts'
import type { PulsarOptions } from './options.ts'
import { type Codec, type Fields, type Frame, FrameParser, numberOf, ProtocolError } from './protocol.ts'
import type { Command } from './schema.ts'
import { tokenOf } from './token.ts'

/** Above any message size that a broker is set up for. */
const mostFrameBytes = 128 * 1024 * 1024
const protocolVersion = 19
/** A broker that says nothing for twice so long is gone, ms. */
const pingMs = 15_000
const lookMs = 250

interface Waiting {
  readonly resolve: (fields: Fields) => void
  readonly reject: (error: BusError) => void
  readonly until: number
  readonly what: string
}

/** A producer on a connection. */
export interface ProducerEvents {
  receipt(sequence: number, messageId: unknown): void
  refused(sequence: number, error: BusError): void
  /** It has to be made anew, maybe elsewhere. */
  ended(): void
}
/** A consumer on a connection. */
export interface ConsumerEvents {
  message(fields: Fields, rest: Buffer): void
  /** Whether it is the one of its group that gets all there is (Failover). */
  activated(active: boolean): void
  ended(): void
}

export interface Door {
  readonly address: Address
  readonly secure: boolean
  /** The broker behind a proxy at the address. */
  readonly behind?: string | undefined
}

/** One socket to a broker. */
export class Connection {
  readonly name: string
  readonly codec: Codec
  readonly producers = new Map<number, ProducerEvents>()
  readonly consumers = new Map<number, ConsumerEvents>()
  onEnd: () => void = () => {}
  /** As the broker says. */
  maxMessageBytes = 5 * 1024 * 1024
  readonly #socket: Socket
  readonly #options: PulsarOptions
  readonly #secure: boolean
  readonly #opened = Promise.withResolvers<void>()
  readonly #waiting = new Map<number, Waiting>()
  #request = 0
  #heardAt = performance.now()
  #pingedAt = 0
  readonly #timer: NodeJS.Timeout
  #corked = false
  #ready = false
  #error: BusError | undefined

  /** @throws BusError `engine_unavailable`, `unauthorized`, `invalid_argument` */
  static async open(door: Door, options: PulsarOptions, codec: Codec): Promise<Connection> {
    const connection = new Connection(door, options, codec)
    const { connectTimeoutMs = 5000 } = options
    const timer = setTimeout(
      () =>
        connection.end(
          new BusError(
            'engine_unavailable',
            `${connection.name} did not answer as a Pulsar broker within ${connectTimeoutMs} ms${wrongPort}`,
          ),
        ),
      connectTimeoutMs,
    )
    try {
      await connection.#opened.promise
      return connection
    } finally {
      clearTimeout(timer)
    }
  }

  private constructor({ address, secure, behind }: Door, options: PulsarOptions, codec: Codec) {
    this.name = addressText(address)
    this.codec = codec
    this.#options = options
    this.#secure = secure
    this.#opened.promise.catch(() => {})
    const { tls = {} } = options
    if (secure) {
      this.#socket = connectTls({ ...address, ...serverNameOf(tls.serverName ?? address.host), ...readPems(tls, 'pulsar.tls') })
    } else this.#socket = connectTcp({ ...address })
    this.#socket.setNoDelay(true)
    this.#socket.once(secure ? 'secureConnect' : 'connect', () => this.#greet(behind))
    this.#socket.on('error', (error) => this.end(this.#unreachable(error)))
    this.#socket.on('close', () =>
      this.end(new BusError('engine_unavailable', `${this.name} closed the connection${this.#ready ? '' : wrongPort}`)),
    )
    const parser = new FrameParser(mostFrameBytes, (frame) => this.#take(frame))
    this.#socket.on('data', (chunk: Buffer) => {
      this.#heardAt = performance.now()
      try {
        parser.push(chunk)
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error
        this.end(
          new BusError('engine_unavailable', `${this.name} does not speak Pulsar's protocol: ${error.message}${wrongPort}`, {
            cause: error,
          }),
        )
      }
    })
    this.#timer = setInterval(this.#look, lookMs).unref()
  }

  get open(): boolean {
    return this.#error === undefined
  }

  #greet(behind: string | undefined): void {
    this.#withToken((token) =>
      this.tell('connect', {
        client_version: this.#options.name ?? 'cozebus',
        protocol_version: protocolVersion,
        feature_flags: { supports_auth_refresh: true },
        ...this.#credentials(token),
        ...(behind === undefined ? {} : { proxy_to_broker_url: behind }),
      }),
    )
  }

  /** A certificate has been shown by then: it is said that it is to count. */
  #credentials(token: string | undefined): object {
    if (token !== undefined) return { auth_method_name: 'token', auth_data: Buffer.from(token) }
    return this.#secure && this.#options.tls?.cert !== undefined ? { auth_method_name: 'tls', auth_data: Buffer.alloc(0) } : {}
  }

  /** Whoever gives it may fail: that ends this connection and nothing else. */
  #withToken(say: (token: string | undefined) => void): void {
    tokenOf(this.#options).then(say, (error: BusError) => this.end(error))
  }

  /** Says it and awaits no answer. */
  tell(command: Command, fields: object): void {
    this.write(this.codec.encode(command, fields))
  }

  write(...parts: readonly Uint8Array[]): void {
    if (this.#error) return
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      // One packet for all that is said in one turn.
      process.nextTick(this.#uncork)
    }
    for (const part of parts) if (part.byteLength > 0) this.#socket.write(part)
  }

  /** Bytes that the broker has not taken yet. */
  get unsent(): number {
    return this.#socket.writableLength
  }

  #uncork = (): void => {
    this.#corked = false
    this.#socket.uncork()
  }

  /** The answer to it. `what`: for messages. @throws BusError as the broker refuses it; `engine_unavailable` where no answer came */
  ask(command: Command, fields: object, what: string): Promise<Fields> {
    if (this.#error) return Promise.reject(this.#error)
    const request = ++this.#request
    return new Promise((resolve, reject) => {
      const until = performance.now() + (this.#options.requestTimeoutMs ?? 10_000)
      this.#waiting.set(request, { resolve, reject, until, what })
      this.tell(command, { ...fields, request_id: request })
    })
  }

  #take(frame: Buffer): void {
    const decoded = this.codec.decode(frame)
    if (decoded) this.#handle(decoded)
  }

  #handle({ command, fields, rest }: Frame): void {
    switch (command) {
      case 'message':
        this.consumers.get(numberOf(fields['consumer_id']))?.message(fields, rest)
        return
      case 'activeChange':
        this.consumers.get(numberOf(fields['consumer_id']))?.activated(fields['is_active'] === true)
        return
      case 'receipt':
        this.producers.get(numberOf(fields['producer_id']))?.receipt(numberOf(fields['sequence_id']), fields['message_id'])
        return
      case 'sendError': {
        const error = refusedMessage(fields['error'] as number, String(fields['message']))
        this.producers.get(numberOf(fields['producer_id']))?.refused(numberOf(fields['sequence_id']), error)
        return
      }
      case 'connected': {
        const most = fields['max_message_size']
        if (Object.hasOwn(fields, 'max_message_size')) this.maxMessageBytes = most as number
        this.#ready = true
        this.#opened.resolve()
        return
      }
      case 'ping':
        this.tell('pong', {})
        return
      case 'authChallenge':
        this.#withToken((token) => this.tell('authResponse', { response: this.#credentials(token), protocol_version: protocolVersion }))
        return
      case 'closeProducer':
        this.#moved(this.producers, fields['producer_id'])
        return
      case 'closeConsumer':
        this.#moved(this.consumers, fields['producer_id'])
        return
      case 'producerSuccess':
        if (fields['producer_ready'] === false) return
        this.#answer(fields)
        return
      default:
        this.#answer(fields)
    }
  }

  #moved(all: Map<number, ProducerEvents | ConsumerEvents>, id: unknown): void {
    const one = all.get(numberOf(id))
    all.delete(numberOf(id))
    one?.ended()
  }

  #answer(fields: Fields): void {
    if (!Object.hasOwn(fields, 'request_id')) return
    const request = numberOf(fields['request_id'])
    const waiting = this.#waiting.get(request)
    const failed = Object.hasOwn(fields, 'error')
    if (!waiting) {
      // Before it has let us in it has no request to answer.
      if (!this.#ready && failed) this.end(refused(fields['error'] as number, String(fields['message']), this.name))
      return
    }
    this.#waiting.delete(request)
    if (failed) waiting.reject(refused(fields['error'] as number, String(fields['message'] ?? ''), waiting.what))
    else waiting.resolve(fields)
  }

  #look = (): void => {
    const now = performance.now()
    for (const [request, { until, what, reject }] of this.#waiting) {
      if (until > now) continue
      this.#waiting.delete(request)
      reject(new BusError('engine_unavailable', `${what}: ${this.name} did not answer in time`))
    }
    if (!this.#ready || now - this.#heardAt < pingMs) return
    if (now - this.#heardAt > 2 * pingMs) this.end(new BusError('engine_unavailable', `${this.name} is silent for ${2 * pingMs} ms`))
    else if (now - this.#pingedAt > pingMs) {
      this.#pingedAt = now
      this.tell('ping', {})
    }
  }

  /** At once, whatever is under way. */
  end(error = new BusError('closed', `the connection to ${this.name} is closed`)): void {
    if (this.#error) return
    this.#error = error
    clearInterval(this.#timer)
    this.#socket.destroy()
    this.#opened.reject(error)
    for (const { reject, what } of this.#waiting.values())
      reject(new BusError('engine_unavailable', `${what}: the connection ended before ${this.name} answered (${error.message})`))
    this.#waiting.clear()
    this.onEnd()
    const all = [...this.producers.values(), ...this.consumers.values()]
    this.producers.clear()
    this.consumers.clear()
    for (const one of all) one.ended()
  }

  #unreachable(error: Error): BusError {
    if (isTlsFailure(error)) return new BusError('engine_unavailable', `${this.name}: TLS failed: ${error.message}`, { cause: error })
    const hint = this.#secure && (error as NodeJS.ErrnoException).code === 'ECONNRESET' ? '; does it serve TLS on this port?' : ''
    return new BusError('engine_unavailable', `${this.name} cannot be reached: ${error.message}${hint}`, { cause: error })
  }
}

const wrongPort = '; is it its port for clients (6650, with TLS 6651), and not that for HTTP?'

/** Connections by door, made when they are asked for, and again after they have ended. */
export class Pool {
  readonly #options: PulsarOptions
  readonly #codec: Codec
  readonly #connections = new Map<string, Promise<Connection>>()
  /** What could not be reached is left alone for a while. */
  readonly #failed = new Map<string, { readonly error: BusError; readonly until: number; readonly waitMs: number }>()
  #closed = false
  onLoss: (name: string) => void = () => {}

  constructor(options: PulsarOptions, codec: Codec) {
    this.#options = options
    this.#codec = codec
  }

  get closed(): boolean {
    return this.#closed
  }

  /** @throws BusError `engine_unavailable`, `unauthorized`, `closed` */
  to(door: Door): Promise<Connection> {
    const key = `${addressText(door.address)} ${door.behind ?? ''}`
    const known = this.#connections.get(key)
    if (known) return known
    if (this.#closed) return Promise.reject(new BusError('closed', 'the connection to Pulsar is closed; connect again'))
    const failed = this.#failed.get(key)
    if (failed && failed.until > performance.now()) return Promise.reject(failed.error)
    const opening = this.#open(door, key)
    this.#connections.set(key, opening)
    opening.catch(() => {})
    return opening
  }

  async #open(door: Door, key: string): Promise<Connection> {
    try {
      const connection = await Connection.open(door, this.#options, this.#codec)
      if (this.#closed) {
        connection.end()
        throw new BusError('closed', 'the connection to Pulsar is closed; connect again')
      }
      this.#failed.delete(key)
      connection.onEnd = () => {
        this.#connections.delete(key)
        if (!this.#closed) this.onLoss(connection.name)
      }
      if (!connection.open) connection.onEnd()
      return connection
    } catch (thrown) {
      const error = toBusError(thrown, 'engine_unavailable')
      const { reconnectWaitMs = 100, reconnectMaxWaitMs = 3000 } = this.#options
      const waitMs = Math.min(Math.max(reconnectWaitMs, reconnectMaxWaitMs), (this.#failed.get(key)?.waitMs ?? reconnectWaitMs / 2) * 2)
      this.#failed.set(key, { error, waitMs, until: performance.now() + waitMs * (0.5 + Math.random() / 2) })
      this.#connections.delete(key)
      throw error
    }
  }

  close(): void {
    this.#closed = true
    for (const opening of this.#connections.values())
      void opening.then(
        (connection) => connection.end(),
        () => {},
      )
    this.#connections.clear()
  }
}
