import { connect as connectTcp, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { BusError, toBusError } from '../../errors.ts'
import { type Address, addressText } from '../address.ts'
import { readPems } from '../pem.ts'
import { isTlsFailure, serverNameOf } from '../tls.ts'
import { type Compressing, compressing, compressionOf } from './compressing.ts'
import { nsqdError, refusedMessage, refusesOutputBuffer } from './failure.ts'
import type { NsqOptions } from './options.ts'
import { auth, FrameParser, heartbeat, identify, magic, nop, ProtocolError, type WireMessage } from './protocol.ts'

/** What nsqd tells of itself in answer to IDENTIFY. */
export interface Negotiated {
  readonly max_rdy_count: number
  readonly max_msg_timeout: number
  readonly msg_timeout: number
  readonly version: string
  readonly tls_v1: boolean
  readonly deflate: boolean
  readonly snappy: boolean
  readonly auth_required: boolean
}

export interface ConnectionHandlers {
  message?(message: WireMessage): void
  /** nsqd says that the message is not this client's. */
  refused?(id: string): void
  /** The connection is over; nothing comes after it. Called once, also after {@link Connection.end}. */
  closed?(error: BusError): void
}

export interface Dial {
  readonly address: Address
  readonly options: NsqOptions
  /** How long messages are this connection's without a word of it, ms; nsqd's own choice where it is not said. */
  readonly msgTimeoutMs?: number
  /** What the connection is for: asked, and answered, before it counts as open. */
  readonly first?: { readonly command: Buffer; readonly what: string }
  /** Gives up the attempt. */
  readonly signal?: AbortSignal
}

/** nsqd's limit is a choice of who runs it; no sane one is above that. */
const maxFrameBytes = 256 * 1024 * 1024
const endWaitMs = 2000
/** nsqd gathers what it sends for so long at most; its default of 250 would be the latency of a quiet topic. */
const outputBufferMs = 25

interface Waiting {
  readonly resolve: (text: string) => void
  readonly reject: (error: BusError) => void
  readonly what: string
}

/** One socket to one nsqd, from IDENTIFY to its end: answers stand in the order of the commands that asked for them. */
export class Connection {
  readonly address: string
  info!: Negotiated
  /** From {@link Dial.first} to its answer. */
  roundTripMs = 0
  readonly #socket: Socket
  readonly #options: NsqOptions
  readonly #host: string
  #stream: Duplex
  #compressing: Compressing | undefined
  #parser: FrameParser
  #handlers: ConnectionHandlers = {}
  #waiting: Waiting[] = []
  #answered = 0
  #heardAt = performance.now()
  #watch: NodeJS.Timeout | undefined
  #corked = false
  /** What follows the next answer is the other side of an upgrade. */
  #upgrading: boolean
  /** From here on what is asked may change something. */
  #begun = false
  #ending = false
  /** Why it is over. */
  #error: BusError | undefined
  readonly #closed = Promise.withResolvers<void>()

  /** @throws BusError `engine_unavailable`, `unauthorized`, `unsupported`, `invalid_argument` */
  static async open(dial: Dial): Promise<Connection> {
    try {
      return await Connection.#open(dial, outputBufferMs)
    } catch (error) {
      // Then for as long as nsqd itself thinks right.
      if (refusesOutputBuffer(error)) return Connection.#open(dial, undefined)
      throw error
    }
  }

  static async #open(dial: Dial, bufferMs: number | undefined): Promise<Connection> {
    const connection = new Connection(dial)
    const timeoutMs = dial.options.connectTimeoutMs ?? 5000
    const timer = setTimeout(
      () => connection.#fail(new BusError('engine_unavailable', `nsqd ${connection.address} did not answer in ${timeoutMs} ms`)),
      timeoutMs,
    )
    const abort = (): void => connection.#fail(new BusError('closed', `the connection to nsqd ${connection.address} is given up`))
    dial.signal?.addEventListener('abort', abort)
    try {
      await connection.#begin(dial, bufferMs)
      connection.#begun = true
      return connection
    } catch (error) {
      const own = toBusError(error, 'engine_unavailable')
      connection.#fail(own)
      throw own
    } finally {
      clearTimeout(timer)
      dial.signal?.removeEventListener('abort', abort)
    }
  }

  private constructor({ address, options }: Dial) {
    this.address = addressText(address)
    this.#host = address.host
    this.#options = options
    this.#upgrading = options.tls !== undefined || compressionOf(options) !== undefined
    this.#socket = connectTcp({ host: address.host, port: address.port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 })
    this.#stream = this.#socket
    this.#parser = this.#newParser()
    this.#socket.on('error', (error) => this.#fail(this.#unreachable(error)))
    this.#socket.on('close', () => {
      this.#fail(new BusError('engine_unavailable', `nsqd ${this.address} closed the connection`))
      this.#closed.resolve()
    })
    this.#listen(this.#socket)
  }

  get open(): boolean {
    return this.#error === undefined
  }

  handle(handlers: ConnectionHandlers): void {
    this.#handlers = handlers
    if (this.#error) handlers.closed?.(this.#error)
  }

  /** A command without an answer. What does not go out before the connection ends is lost with it. */
  send(...parts: readonly Buffer[]): void {
    if (!this.open || this.#ending) return
    if (!this.#corked) {
      this.#corked = true
      this.#stream.cork()
      // One packet for all that is said in one turn.
      process.nextTick(this.#uncork)
    }
    for (const part of parts) this.#stream.write(part)
  }

  /**
   * A command that is answered. `what` is for messages.
   * @throws BusError what nsqd says of it; `engine_unavailable` when it was not read; `publish_unknown` when it may have been
   */
  ask(parts: readonly Buffer[], what: string): Promise<string> {
    if (this.#error) return Promise.reject(this.#error)
    if (this.#ending) return Promise.reject(new BusError('closed', `the connection to nsqd ${this.address} is ending`))
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject, what })
      this.send(...parts)
    })
  }

  /** Resolves once nsqd has read all that was sent, and forgotten this client. */
  async end(): Promise<void> {
    if (this.open) {
      this.#uncork()
      this.#ending = true
      this.#stream.end()
      setTimeout(() => this.#socket.destroy(), endWaitMs).unref()
    } else this.#socket.destroy()
    await this.#closed.promise
  }

  // ── the beginning ─────────────────────────────────────────────────────────────────────────────────────────────────

  async #begin({ options, msgTimeoutMs, first }: Dial, bufferMs: number | undefined): Promise<void> {
    const heartbeatMs = options.heartbeatMs ?? 10_000
    const { deflate = false, name = 'cozebus' } = options
    const compression = compressionOf(options)
    const compress = compression && (await compressing(compression, options))
    const wish = {
      client_id: name,
      user_agent: 'cozebus',
      feature_negotiation: true,
      heartbeat_interval: heartbeatMs,
      tls_v1: options.tls !== undefined,
      deflate: compression === 'deflate',
      snappy: compression === 'snappy',
      ...(typeof deflate === 'number' ? { deflate_level: deflate } : {}),
      ...(bufferMs === undefined ? {} : { output_buffer_timeout: bufferMs }),
      ...(msgTimeoutMs === undefined ? {} : { msg_timeout: msgTimeoutMs }),
    }
    this.#stream.write(magic)
    const answer = await this.ask(identify(wish), `nsqd ${this.address}`)
    try {
      this.info = JSON.parse(answer) as Negotiated
    } catch {
      throw new BusError('unsupported', `nsqd ${this.address} negotiates nothing: it is older than 0.2.20`)
    }
    if (options.tls) {
      if (!this.info.tls_v1)
        throw new BusError('unsupported', `nsqd ${this.address} has no TLS; leave out nsq.tls, or give nsqd a certificate`)
      await this.#upgradeTls(options.tls)
    }
    if (compression && compress) {
      if (!this.info[compression])
        throw new BusError('unsupported', `nsqd ${this.address} has no ${compression}; leave out nsq.${compression}`)
      await this.#upgradeCompression(compress)
    }
    if (this.info.auth_required) await this.#authenticate()
    if (first) {
      const asked = performance.now()
      await this.ask([first.command], first.what)
      this.roundTripMs = performance.now() - asked
    }
    this.#watch = setInterval(() => {
      if (performance.now() - this.#heardAt > heartbeatMs * 2.5)
        this.#fail(new BusError('engine_unavailable', `nsqd ${this.address} is silent`))
    }, heartbeatMs / 2)
    this.#watch.unref()
  }

  async #authenticate(): Promise<void> {
    const { secret } = this.#options
    if (secret === undefined)
      throw new BusError('unauthorized', `nsqd ${this.address} wants a secret: nsq: { secret }, or nsq://secret@host:4150`)
    await this.ask(auth(typeof secret === 'function' ? secret() : secret), `nsqd ${this.address}`)
  }

  async #upgradeTls(tls: NonNullable<NsqOptions['tls']>): Promise<void> {
    this.#socket.removeAllListeners('data')
    this.#upgrading = compressionOf(this.#options) !== undefined
    const serverName = tls.serverName ?? this.#host
    const stream: TLSSocket = connectTls({
      socket: this.#socket,
      host: serverName,
      ...serverNameOf(serverName),
      ...readPems(tls, 'nsq.tls'),
    })
    this.#listen(stream)
    stream.on('error', (error) => this.#fail(this.#unreachable(error)))
    const welcome = this.#expectOk()
    this.#stream = stream
    await welcome
  }

  async #upgradeCompression(compressing: Compressing): Promise<void> {
    const under = this.#stream
    under.removeAllListeners('data')
    this.#upgrading = false
    // nsqd may have begun to compress in the same breath.
    const begun = this.#parser.release()
    const { packs, unpacks } = compressing
    for (const stream of [unpacks, packs]) stream.on('error', (error) => this.#fail(this.#unreachable(error)))
    this.#listen(unpacks)
    // Snappy has it unpacked within the call.
    const welcome = this.#expectOk()
    if (begun.length > 0) unpacks.write(begun)
    under.pipe(unpacks)
    packs.pipe(under)
    this.#stream = packs
    this.#compressing = compressing
    await welcome
  }

  /** nsqd says so once the other side of an upgrade stands. */
  #expectOk(): Promise<string> {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject, what: `nsqd ${this.address}` }))
  }

  // ── what comes ────────────────────────────────────────────────────────────────────────────────────────────────────

  #newParser(): FrameParser {
    return new FrameParser(maxFrameBytes, {
      response: (text) => this.#response(text),
      error: (text) => this.#errorFrame(text),
      message: (message) => this.#handlers.message?.(message),
    })
  }

  #listen(stream: Duplex): void {
    this.#parser = this.#newParser()
    const parser = this.#parser
    stream.on('data', (chunk: Buffer) => {
      this.#heardAt = performance.now()
      try {
        parser.push(chunk)
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error
        this.#fail(wrongPort(this.address, error))
      }
    })
  }

  #response(text: string): void {
    if (text === heartbeat) {
      this.send(nop)
      return
    }
    if (this.#upgrading) this.#parser.hold()
    this.#nextWaiting()?.resolve(text)
  }

  #errorFrame(text: string): void {
    const id = refusedMessage(text)
    if (id !== undefined) {
      this.#handlers.refused?.(id)
      return
    }
    // nsqd reads in order and stops here: of what was asked after it nothing was done.
    const guilty = this.#nextWaiting()
    const error = nsqdError(text, guilty?.what ?? `nsqd ${this.address}`)
    guilty?.reject(error)
    const unread = new BusError('engine_unavailable', `nsqd ${this.address} ended the connection over another command: ${text}`)
    for (let next = this.#nextWaiting(); next; next = this.#nextWaiting()) next.reject(unread)
    this.#fail(guilty ? new BusError('engine_unavailable', error.message) : error)
  }

  // Not shift(): of an array of thousands that is a copy each time.
  #nextWaiting(): Waiting | undefined {
    const next = this.#waiting[this.#answered]
    if (next === undefined) return undefined
    this.#waiting[this.#answered++] = undefined as unknown as Waiting
    if (this.#answered === this.#waiting.length) {
      this.#waiting = []
      this.#answered = 0
    } else if (this.#answered > 1024) {
      this.#waiting = this.#waiting.slice(this.#answered)
      this.#answered = 0
    }
    return next
  }

  #uncork = (): void => {
    if (!this.#corked) return
    this.#corked = false
    this.#stream.uncork()
    this.#compressing?.flush()
  }

  #unreachable(error: Error): BusError {
    return isTlsFailure(error)
      ? new BusError('engine_unavailable', `nsqd ${this.address}: TLS failed: ${error.message}`, { cause: error })
      : new BusError('engine_unavailable', `nsqd ${this.address} cannot be reached: ${error.message}`, { cause: error })
  }

  #fail(error: BusError): void {
    if (this.#error) return
    this.#error = error
    clearInterval(this.#watch)
    this.#parser.stop()
    this.#socket.destroy()
    // Sent, and not answered: nobody knows whether nsqd has read it.
    for (let next = this.#nextWaiting(); next; next = this.#nextWaiting())
      next.reject(
        !this.#begun
          ? error
          : new BusError('publish_unknown', `${next.what}: the connection ended before nsqd answered (${error.message})`),
      )
    this.#handlers.closed?.(error)
  }
}

function wrongPort(address: string, error: ProtocolError): BusError {
  const advice = error.message.includes('HTTP')
    ? 'write the TCP port of nsqd (4150), or nsq+lookup:// for the HTTP port of nsqlookupd'
    : error.message.includes('nsqlookupd')
      ? 'write the TCP port of nsqd (4150), or nsq+lookup:// with the HTTP port of nsqlookupd (4161)'
      : 'is it the TCP port of nsqd (4150)?'
  return new BusError('invalid_argument', `${address}: ${error.message}; ${advice}`, { cause: error })
}
