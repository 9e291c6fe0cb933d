import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { BusError, type BusErrorCode } from '../../errors.ts'
import type { Calls, Command, Reply, WorkerStart } from './protocol.ts'

type Pushed = Exclude<Reply, { op: 'ready' | 'failed' | 'done' | 'published' | 'settled' }>
type Published = Extract<Reply, { op: 'published' }>
type Settled = Extract<Reply, { op: 'settled' }>

interface Waiting {
  resolve(value: never): void
  reject(error: BusError): void
}

/**
 * The main thread's end of the line to the store's thread. Commands of a tick cross together; the process is kept alive
 * only while something is awaited or {@link hold} says so.
 */
export class Link {
  readonly #port: MessagePort
  readonly #flag: Int32Array
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  readonly #pushed: (reply: Pushed) => void
  #commands: Command[] = []
  #buffers: ArrayBuffer[] = []
  #next = 1
  #holds = 0
  #alive = false
  #dead: BusError | undefined

  private constructor(port: MessagePort, flag: Int32Array, worker: Worker, pushed: (reply: Pushed) => void) {
    this.#port = port
    this.#flag = flag
    this.#worker = worker
    this.#pushed = pushed
  }

  /** @throws BusError what the store's opening gave: `store_readonly`, `store_corrupt`, `store_newer`, … */
  static async open(options: Omit<WorkerStart, 'port' | 'flag'>, pushed: (reply: Pushed) => void): Promise<Link> {
    const { port1, port2 } = new MessageChannel()
    const flag = new Int32Array(new SharedArrayBuffer(8))
    // Import specifiers are rewritten when the project is built, this is not.
    const file = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url)
    const start: WorkerStart = { ...options, port: port2, flag }
    const worker = new Worker(file, {
      workerData: start,
      transferList: [port2],
      name: 'cozebus-store',
      execArgv: ['--disable-warning=ExperimentalWarning'],
      stdout: false,
      stderr: false,
    })
    const link = new Link(port1, flag, worker, pushed)
    const ready = new Promise<void>((resolve, reject) => link.#waiting.set(0, { resolve: resolve as never, reject }))
    link.#listen()
    await ready
    return link
  }

  #listen(): void {
    this.#port.on('message', (replies: Reply[]) => {
      for (const reply of replies) this.#take(reply)
      this.#keepAlive()
    })
    this.#worker.on('error', (error) => this.#die(`its thread failed: ${error.message}`))
    this.#worker.on('exit', () => this.#die('its thread ended'))
    this.#worker.unref()
    this.#port.unref()
    this.#keepAlive()
  }

  #take(reply: Reply): void {
    switch (reply.op) {
      case 'ready':
        this.#settle(0)?.resolve(undefined as never)
        break
      case 'failed':
        this.#settle(reply.call)?.reject(new BusError(reply.code as BusErrorCode, reply.message))
        break
      case 'done':
        this.#settle(reply.call)?.resolve(reply.value as never)
        break
      case 'published':
      case 'settled':
        this.#settle(reply.call)?.resolve(reply as never)
        break
      default:
        this.#pushed(reply)
    }
  }

  #settle(call: number): Waiting | undefined {
    const waiting = this.#waiting.get(call)
    this.#waiting.delete(call)
    return waiting
  }

  call<Name extends keyof Calls>(name: Name, ...args: Parameters<Calls[Name]>): Promise<ReturnType<Calls[Name]>> {
    return this.#ask((call) => ({ op: 'call', call, name, args }))
  }

  publish(columns: Extract<Command, { op: 'publish' }>['columns'], buffers: readonly ArrayBuffer[]): Promise<Published> {
    this.#buffers.push(...buffers)
    return this.#ask((call) => ({ op: 'publish', call, columns }))
  }

  settle(subscription: number, rows: Float64Array): Promise<Settled> {
    return this.#ask((call) => ({ op: 'settle', call, subscription, rows }))
  }

  grant(subscription: number, messages: number, bytes: number): void {
    if (this.#dead === undefined) this.#post({ op: 'grant', subscription, messages, bytes })
  }

  #ask<Answer>(command: (call: number) => Command): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#dead) {
        reject(this.#dead)
        return
      }
      const call = this.#next++
      this.#waiting.set(call, { resolve: resolve as never, reject })
      this.#post(command(call))
    })
  }

  #post(command: Command): void {
    this.#commands.push(command)
    if (this.#commands.length === 1) queueMicrotask(this.#flush)
  }

  #flush = (): void => {
    const commands = this.#commands
    const buffers = this.#buffers
    this.#commands = []
    this.#buffers = []
    this.#keepAlive()
    this.#port.postMessage(commands, buffers)
    this.wake()
  }

  /** The store's thread looks around: something was posted, or another process rang. */
  wake(): void {
    Atomics.add(this.#flag, 0, 1)
    Atomics.notify(this.#flag, 0)
  }

  /** Where nothing rings when others write. */
  pollEvery(ms: number): void {
    setInterval(() => this.wake(), ms).unref()
  }

  /** Keeps the process alive until {@link release}: somebody listens. */
  hold(): void {
    this.#holds++
    this.#keepAlive()
  }

  release(): void {
    this.#holds--
    this.#keepAlive()
  }

  #keepAlive(): void {
    const alive = this.#dead === undefined && (this.#holds > 0 || this.#waiting.size > 0)
    if (alive === this.#alive) return
    this.#alive = alive
    if (alive) this.#port.ref()
    else this.#port.unref()
  }

  #die(why: string): void {
    if (this.#dead) return
    this.#dead = new BusError('engine_unavailable', `the embedded store is gone: ${why}; what was confirmed is on disk, connect again`)
    for (const waiting of this.#waiting.values()) waiting.reject(this.#dead)
    this.#waiting.clear()
    this.#keepAlive()
    this.#port.close()
    this.#pushed({ op: 'health', ok: false, detail: this.#dead.message })
  }

  /** Once the thread has answered its last call. */
  async end(): Promise<void> {
    this.#dead ??= new BusError('closed', 'the embedded store is closed; connect again')
    this.#port.close()
    this.#holds = 0
    await this.#worker.terminate()
  }
}
