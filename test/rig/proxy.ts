// A TCP proxy on loopback that fails on demand: what lies between a client and its broker.
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Faults {
  /** Each byte is so many ms late, plus up to `jitterMs`; never out of order. */
  delayMs: number
  jitterMs: number
  /** In each direction. */
  bytesPerSecond: number
  /** Nothing passes and nobody is told: no answer, no end. Off again, what was held goes on its way. */
  blackhole: boolean
}

export type Direction = 'up' | 'down'

/** More than that is left in the sender's hands, as a full network does. */
const heldBytes = 256 * 1024

export async function startProxy(target: number | { port: number; host?: string }): Promise<TcpProxy> {
  const proxy = new TcpProxy(typeof target === 'number' ? { port: target } : target)
  await proxy.accept()
  return proxy
}

export class TcpProxy implements AsyncDisposable {
  readonly connections = new Set<Connection>()
  /** Passed on since the start, in all connections. `up`: to the broker. */
  readonly bytes: Record<Direction, number> = { up: 0, down: 0 }
  readonly #target: { port: number; host?: string }
  readonly #faults: Faults = { delayMs: 0, jitterMs: 0, bytesPerSecond: Number.POSITIVE_INFINITY, blackhole: false }
  #server: Server | undefined
  #port = 0

  constructor(target: { port: number; host?: string }) {
    this.#target = target
  }

  get port(): number {
    return this.#port
  }

  /** For connections there are and those to come. One of them alone: `connection.set`. */
  set(faults: Partial<Faults>): void {
    Object.assign(this.#faults, faults)
    for (const connection of this.connections) connection.set(faults)
  }

  /** Resets every connection; new ones come through. */
  cut(): void {
    for (const connection of this.connections) connection.cut()
  }

  /** Each connection there is ends in the middle of what it carries, after so many bytes more. */
  cutAfter(bytes: number, direction: Direction): void {
    for (const connection of this.connections) connection.cutAfter(bytes, direction)
  }

  /** New connections are refused; those there are stay. */
  async refuse(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    // It closes its port at once, and calls back only when its last connection has ended.
    server?.close()
  }

  /** The same port again. */
  async accept(): Promise<void> {
    if (this.#server) return
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#join(client))
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as { port: number }).port
  }

  async close(): Promise<void> {
    await this.refuse()
    this.cut()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #join(client: Socket): void {
    const broker = connect({ host: '127.0.0.1', ...this.#target, allowHalfOpen: true, noDelay: true })
    const connection = new Connection(client, broker, { ...this.#faults }, (direction, bytes) => (this.bytes[direction] += bytes))
    this.connections.add(connection)
    void connection.ended.then(() => this.connections.delete(connection))
  }
}

export class Connection {
  readonly bytes: Record<Direction, number> = { up: 0, down: 0 }
  readonly ended: Promise<void>
  readonly #sockets: readonly [client: Socket, broker: Socket]
  readonly #faults: Faults
  readonly #left: Record<Direction, number> = { up: Number.POSITIVE_INFINITY, down: Number.POSITIVE_INFINITY }
  readonly #count: (direction: Direction, bytes: number) => void
  #opened = Promise.withResolvers<void>()

  constructor(client: Socket, broker: Socket, faults: Faults, count: (direction: Direction, bytes: number) => void) {
    this.#sockets = [client, broker]
    this.#faults = faults
    this.#count = count
    for (const socket of this.#sockets) socket.on('error', () => this.cut())
    this.ended = Promise.all(this.#sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)))).then(() => {})
    this.#carry('up', client, broker)
    this.#carry('down', broker, client)
  }

  set(faults: Partial<Faults>): void {
    Object.assign(this.#faults, faults)
    this.#opened.resolve()
    this.#opened = Promise.withResolvers()
  }

  cut(): void {
    for (const socket of this.#sockets) if (!socket.destroyed) socket.resetAndDestroy()
    this.set({ blackhole: false })
  }

  cutAfter(bytes: number, direction: Direction): void {
    this.#left[direction] = bytes
  }

  /** One queue a direction. What arrives is stamped with when it is due, so that a delay costs time and no bandwidth. */
  #carry(direction: Direction, from: Socket, to: Socket): void {
    const queue: { chunk: Buffer | undefined; due: number }[] = []
    let held = 0
    let carrying = false
    const put = (chunk: Buffer | undefined): void => {
      if (to.destroyed) return
      queue.push({ chunk, due: performance.now() + this.#faults.delayMs + Math.random() * this.#faults.jitterMs })
      held += chunk?.length ?? 0
      if (held > heldBytes) from.pause()
      if (!carrying) void carry()
    }
    const carry = async (): Promise<void> => {
      carrying = true
      for (let next = queue[0]; next && !to.destroyed; next = queue[0]) {
        const wait = next.due - performance.now()
        if (wait > 0) await sleep(wait)
        while (this.#faults.blackhole && !to.destroyed) await this.#opened.promise
        if (!to.destroyed) await this.#pass(direction, next.chunk, from, to)
        queue.shift()
        held -= next.chunk?.length ?? 0
        if (held <= heldBytes) from.resume()
      }
      carrying = false
      // Read on to the end, or this side would never hear of it.
      if (to.destroyed) from.resume()
    }
    from.on('data', put)
    from.once('end', () => put(undefined))
  }

  async #pass(direction: Direction, chunk: Buffer | undefined, from: Socket, to: Socket): Promise<void> {
    if (!chunk) return void to.end()
    const part = chunk.subarray(0, this.#left[direction])
    this.#left[direction] -= part.length
    this.bytes[direction] += part.length
    this.#count(direction, part.length)
    const flows = to.write(part)
    if (this.#left[direction] === 0) {
      // Not a reset on the receiving side: that would also take back what it has not read yet.
      to.end()
      from.resetAndDestroy()
      return
    }
    if (!flows) await Promise.race([once(to, 'drain').catch(() => {}), this.ended])
    if (Number.isFinite(this.#faults.bytesPerSecond)) await sleep((part.length / this.#faults.bytesPerSecond) * 1000)
  }
}
