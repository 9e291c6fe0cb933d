import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { BusError, type BusErrorCode } from '../../errors.ts'
import { type Calls, type Command, liveMost, type Reply, type WorkerStart } from './protocol.ts'

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
  /** By the number of the call, which is a free place here: slots, as a map would keep its answered entries alive. */
  readonly #waiting: (Waiting | undefined)[] = []
  readonly #free: number[] = []
  readonly #pushed: (reply: Pushed) => void
  #commands: Command[] = []
  #buffers: ArrayBuffer[] = []
  #holds = 0
  #alive = false
  #dead: BusError | undefined
  /** The thread was asked to end: that it does is no failure, and its news may be here before the answer was seen. */
  #ending = false

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
      // Rows live for a moment: a large nursery would only be memory that is never given back (48 MB more, measured).
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
      execArgv: ['--disable-warning=ExperimentalWarning'],
      stdout: false,
      stderr: false,
    })
    const link = new Link(port1, flag, worker, pushed)
    const ready = new Promise<void>((resolve, reject) => link.#wait({ resolve: resolve as never, reject }))
    link.#listen()
    await ready
    return link
  }

  #listen(): void {
    const take = (replies: Reply[]): void => {
      for (const reply of replies) this.#take(reply)
      this.#keepAlive()
    }
    this.#port.on('message', take)
    this.#worker.on('error', (error) => this.#die(`its thread failed: ${error.message}`))
    this.#worker.on('exit', () => {
      // Its last words may come after the news of its end: why a store could not be opened, for one.
      for (let last = receiveMessageOnPort(this.#port); last; last = receiveMessageOnPort(this.#port)) take(last.message as Reply[])
      this.#die('its thread ended')
    })
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

  /** The opening is the first call: number 0. */
  #wait(waiting: Waiting): number {
    const call = this.#free.pop() ?? this.#waiting.length
    this.#waiting[call] = waiting
    return call
  }

  #settle(call: number): Waiting | undefined {
    const waiting = this.#waiting[call]
    if (waiting) this.#free.push(call)
    this.#waiting[call] = undefined
    return waiting
  }

  call<Name extends keyof Calls>(name: Name, ...args: Parameters<Calls[Name]>): Promise<ReturnType<Calls[Name]>> {
    if (name === 'close') this.#ending = true
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
      this.#post(command(this.#wait({ resolve: resolve as never, reject })))
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

  /** So much for listeners has arrived: the thread may send more. */
  heard(bytes: number): void {
    if (Atomics.sub(this.#flag, 1, bytes) >= liveMost) this.wake()
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
    const alive = this.#dead === undefined && (this.#holds > 0 || this.#free.length < this.#waiting.length)
    if (alive === this.#alive) return
    this.#alive = alive
    if (alive) this.#port.ref()
    else this.#port.unref()
  }

  #die(why: string): void {
    if (this.#dead) return
    const gone = new BusError('engine_unavailable', `the embedded store is gone: ${why}; what was confirmed is on disk, connect again`)
    this.#dead = this.#ending ? closed() : gone
    for (let call = 0; call < this.#waiting.length; call++) this.#settle(call)?.reject(gone)
    this.#keepAlive()
    this.#port.close()
    if (!this.#ending) this.#pushed({ op: 'health', ok: false, detail: gone.message, forGood: true })
  }

  /** Once the thread has answered its last call. */
  async end(): Promise<void> {
    this.#dead ??= closed()
    this.#port.close()
    this.#holds = 0
    await this.#worker.terminate()
  }
}

function closed(): BusError {
  return new BusError('closed', 'the embedded store is closed; connect again')
}
