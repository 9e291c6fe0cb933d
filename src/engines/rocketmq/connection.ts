import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { BusError, toBusError } from '../../errors.ts'
import { type Address, addressText } from '../address.ts'
import { readPems } from '../pem.ts'
import { isTlsFailure, serverNameOf } from '../tls.ts'
import { type RocketmqOptions, usualReconnectMaxWaitMs } from './options.ts'
import { encodeFrame, type Fields, type Frame, FrameParser, type Keys, ProtocolError, request } from './protocol.ts'

/** A broker's limit is a choice of who runs it; no sane answer is above that. */
const mostFrameBytes = 128 * 1024 * 1024
/** How often it is looked for questions whose time is over, ms. */
const lookMs = 250

interface Waiting {
  readonly resolve: (frame: Frame) => void
  readonly reject: (error: BusError) => void
  readonly askedAt: number
  readonly until: number
  readonly what: string
}

/** One socket to a name server or broker. Questions are answered in any order. */
export class Connection {
  readonly address: string
  /** By `performance.now()`. */
  readonly openedAt = performance.now()
  /** Called once, when it is over. */
  onEnd: (error: BusError) => void = () => {}
  /** What the broker asks by itself; it waits for no answer. */
  onAsked: (frame: Frame) => void = () => {}
  readonly #socket: Socket
  readonly #keys: Keys | undefined
  readonly #timeoutMs: number
  readonly #waiting = new Map<number, Waiting>()
  readonly #opened = Promise.withResolvers<void>()
  #opaque = 0
  #heardAt = 0
  #timer: NodeJS.Timeout | undefined
  #corked = false
  #error: BusError | undefined

  /** @throws BusError `engine_unavailable`, `invalid_argument` */
  static async open(address: Address, options: RocketmqOptions): Promise<Connection> {
    const connection = new Connection(address, options)
    const { connectTimeoutMs = 5000 } = options
    const timer = setTimeout(
      () => connection.end(new BusError('engine_unavailable', `${connection.address} did not answer in ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    )
    try {
      await connection.#opened.promise
      return connection
    } finally {
      clearTimeout(timer)
    }
  }

  private constructor(address: Address, options: RocketmqOptions) {
    this.address = addressText(address)
    const { accessKey, secretKey, tls } = options
    if (accessKey !== undefined && secretKey !== undefined)
      this.#keys = { accessKey, secretKey: typeof secretKey === 'function' ? secretKey() : secretKey }
    this.#timeoutMs = options.requestTimeoutMs ?? 10_000
    this.#opened.promise.catch(() => {})
    const target = { host: address.host, port: address.port }
    if (tls) {
      this.#socket = connectTls({ ...target, ...serverNameOf(tls.serverName ?? address.host), ...readPems(tls, 'rocketmq.tls') })
    } else this.#socket = connectTcp(target)
    this.#socket.setNoDelay(true)
    this.#socket.setKeepAlive(true, 30_000)
    this.#socket.once(tls ? 'secureConnect' : 'connect', () => this.#opened.resolve())
    this.#socket.on('error', (error) => this.end(this.#unreachable(error, tls !== undefined)))
    this.#socket.on('close', () => this.end(new BusError('engine_unavailable', `${this.address} closed the connection`)))
    const parser = new FrameParser(mostFrameBytes, (frame) => this.#take(frame))
    this.#socket.on('data', (chunk: Buffer) => {
      this.#heardAt = performance.now()
      try {
        parser.push(chunk)
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error
        this.end(
          new BusError(
            'engine_unavailable',
            `${this.address} does not speak RocketMQ's remoting protocol: ${error.message}; is it the port of a name server (9876), or of its proxy?`,
            {
              cause: error,
            },
          ),
        )
      }
    })
  }

  get open(): boolean {
    return this.#error === undefined
  }

  /**
   * Whatever the answer is. `what` is for messages.
   * @throws BusError `engine_unavailable` when it was not sent; `publish_unknown` when it was, and no answer came
   */
  ask(code: number, fields: Fields, what: string, body?: Buffer, timeoutMs = this.#timeoutMs): Promise<Frame> {
    if (this.#error) return Promise.reject(this.#error)
    const opaque = (this.#opaque = (this.#opaque + 1) & 0x7fff_ffff)
    const [head, tail] = encodeFrame(code, opaque, fields, body, this.#keys)
    return new Promise((resolve, reject) => {
      const askedAt = performance.now()
      this.#waiting.set(opaque, { resolve, reject, askedAt, until: askedAt + timeoutMs, what })
      this.#timer ??= setInterval(this.#look, lookMs).unref()
      if (!this.#corked) {
        this.#corked = true
        this.#socket.cork()
        // One packet for all that is said in one turn.
        process.nextTick(this.#uncork)
      }
      this.#socket.write(head)
      if (tail.length > 0) this.#socket.write(tail)
    })
  }

  #uncork = (): void => {
    this.#corked = false
    this.#socket.uncork()
  }

  #take(frame: Frame): void {
    if (!frame.isAnswer) {
      this.onAsked(frame)
      return
    }
    const waiting = this.#waiting.get(frame.opaque)
    if (!waiting) return
    this.#waiting.delete(frame.opaque)
    waiting.resolve(frame)
  }

  #look = (): void => {
    const now = performance.now()
    if (this.#waiting.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    for (const [opaque, { until, askedAt, what, reject }] of this.#waiting) {
      if (until > now) continue
      this.#waiting.delete(opaque)
      const waitedMs = Math.round(now - askedAt)
      reject(new BusError('publish_unknown', `${what}: ${this.address} did not answer in ${waitedMs} ms`))
      // Not even to others: nobody is there any more.
      if (this.#heardAt < askedAt) {
        this.end(new BusError('engine_unavailable', `${this.address} is silent for ${waitedMs} ms`))
        return
      }
    }
  }

  /** At once, whatever is under way. */
  end(error = new BusError('closed', `the connection to ${this.address} is closed`)): void {
    if (this.#error) return
    this.#error = error
    clearInterval(this.#timer)
    this.#socket.destroy()
    this.#opened.reject(error)
    for (const { reject, what } of this.#waiting.values())
      reject(new BusError('publish_unknown', `${what}: the connection ended before ${this.address} answered (${error.message})`))
    this.#waiting.clear()
    this.onEnd(error)
  }

  #unreachable(error: Error, secure: boolean): BusError {
    if (isTlsFailure(error)) return new BusError('engine_unavailable', `${this.address}: TLS failed: ${error.message}`, { cause: error })
    const hint = secure && (error as NodeJS.ErrnoException).code === 'ECONNRESET' ? '; does it serve TLS at all (rocketmq.tls)?' : ''
    return new BusError('engine_unavailable', `${this.address} cannot be reached: ${error.message}${hint}`, { cause: error })
  }
}

/** Connections by address, made when they are asked for, and again after they have ended. */
export class Pool {
  readonly #options: RocketmqOptions
  readonly #connections = new Map<string, Promise<Connection>>()
  /** What could not be reached is left alone for a while. */
  readonly #failed = new Map<string, { readonly error: BusError; readonly until: number; readonly waitMs: number }>()
  #closed = false
  /** Told when a connection ends that stood. */
  onLoss: (address: string) => void = () => {}
  /** Members of a group came or went. */
  onMembers: () => void = () => {}

  constructor(options: RocketmqOptions) {
    this.#options = options
  }

  get closed(): boolean {
    return this.#closed
  }

  /** @throws BusError `engine_unavailable`, `closed` */
  to(address: Address): Promise<Connection> {
    const key = addressText(address)
    const known = this.#connections.get(key)
    if (known) return known
    if (this.#closed) return Promise.reject(new BusError('closed', 'the connection to RocketMQ is closed; connect again'))
    const failed = this.#failed.get(key)
    if (failed && failed.until > performance.now()) return Promise.reject(failed.error)
    const opening = this.#open(address, key)
    this.#connections.set(key, opening)
    return opening
  }

  async #open(address: Address, key: string): Promise<Connection> {
    try {
      const connection = await Connection.open(address, this.#options)
      if (this.#closed) {
        connection.end()
        throw new BusError('closed', 'the connection to RocketMQ is closed; connect again')
      }
      this.#failed.delete(key)
      connection.onEnd = () => {
        this.#connections.delete(key)
        if (!this.#closed) this.onLoss(key)
      }
      connection.onAsked = ({ code }) => {
        if (code === request.membersChanged) this.onMembers()
      }
      if (!connection.open) connection.onEnd(new BusError('engine_unavailable', ''))
      return connection
    } catch (thrown) {
      const error = toBusError(thrown, 'engine_unavailable')
      const { reconnectWaitMs = 200, reconnectMaxWaitMs = usualReconnectMaxWaitMs } = this.#options
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
