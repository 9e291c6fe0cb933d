// nsqd and nsqlookupd, from the Go module proxy: one process each, on ports of their own, with data in a temporary folder.
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Certificates } from './certificates.ts'
import { exe, goPrograms } from './go-tool.ts'
import { temporaryFolder } from './orphans.ts'
import { freePorts, retryTaken } from './ports.ts'
import { ServerProcess } from './server-process.ts'

export const nsqVersion = '1.3.0'

let installed: Promise<string> | undefined

/** Resolves to the folder of the programs; rejects with what is missing on this machine. */
export function nsqPrograms(): Promise<string> {
  const packages = ['nsqd', 'nsqlookupd'].map((name) => `github.com/nsqio/nsq/apps/${name}`)
  installed ??= goPrograms(
    'nsq',
    nsqVersion,
    packages,
    `require github.com/nsqio/nsq v${nsqVersion}\n\nreplace github.com/judwhite/go-svc => github.com/mreiferson/go-svc v1.2.2-0.20210815184239-7a96e00010f6`,
  )
  return installed
}

export interface NsqdSettings {
  /** `host:port` of lookup daemons' TCP side. */
  lookupd?: readonly string[]
  /** 1 = every client must use TLS, HTTP stays open; 2 = HTTP too. */
  tls?: { certificates: Certificates; required?: boolean; verify?: boolean }
  /** `host:port` of an HTTP server that says who may do what. */
  auth?: string
  deflate?: boolean
  snappy?: boolean
  /** 0 = all goes to disk, and what is queued survives a kill. Default: NSQ's own, 10 000. */
  memoryQueue?: number
  maxMsgTimeoutMs?: number
  maxMsgSize?: number
  /** Of a command with many messages. */
  maxBodySize?: number
  maxReqTimeoutMs?: number
  /** Readers of one channel. */
  maxChannelConsumers?: number
  maxHeartbeatMs?: number
  minOutputBufferMs?: number
  /** Messages between two writes of the disk queue's state. */
  syncEvery?: number
  /** And the longest time between two. */
  syncTimeoutMs?: number
  id?: number
  /** The host that it tells to nsqlookupd. */
  broadcast?: string
}

export const startNsqd = (settings: NsqdSettings = {}): Promise<NsqNode> => start('nsqd', nsqdArguments(settings))
export const startNsqlookupd = (): Promise<NsqNode> => start('nsqlookupd', () => ['--broadcast-address=127.0.0.1'])

type Arguments = (dir: string) => string[]

const start = (program: string, args: Arguments): Promise<NsqNode> =>
  retryTaken(async () => {
    const [tcp, http, https] = (await freePorts(3)) as [number, number, number]
    const node = new NsqNode(program, { tcp, http, https }, args)
    await node.start()
    return node
  })

const nsqdArguments =
  (settings: NsqdSettings): Arguments =>
  (dir) => {
    const { tls } = settings
    const given: Record<string, string | number | boolean | undefined> = {
      'broadcast-address': settings.broadcast ?? '127.0.0.1',
      'data-path': dir,
      'mem-queue-size': settings.memoryQueue,
      'max-msg-timeout': settings.maxMsgTimeoutMs && `${settings.maxMsgTimeoutMs}ms`,
      'max-req-timeout': settings.maxReqTimeoutMs && `${settings.maxReqTimeoutMs}ms`,
      'max-msg-size': settings.maxMsgSize,
      'max-body-size': settings.maxBodySize,
      'max-channel-consumers': settings.maxChannelConsumers,
      'max-heartbeat-interval': settings.maxHeartbeatMs && `${settings.maxHeartbeatMs}ms`,
      'min-output-buffer-timeout': settings.minOutputBufferMs && `${settings.minOutputBufferMs}ms`,
      'sync-every': settings.syncEvery,
      'sync-timeout': settings.syncTimeoutMs && `${settings.syncTimeoutMs}ms`,
      'node-id': settings.id,
      deflate: settings.deflate ?? true,
      snappy: settings.snappy ?? true,
      'auth-http-address': settings.auth,
      'tls-cert': tls?.certificates.paths.serverCert,
      'tls-key': tls?.certificates.paths.serverKey,
      'tls-root-ca-file': tls?.verify ? tls.certificates.paths.ca : undefined,
      'tls-client-auth-policy': tls?.verify ? 'require-verify' : undefined,
      'tls-required': tls?.required ? 'tcp-https' : undefined,
    }
    const lookupd = (settings.lookupd ?? []).map((address) => `--lookupd-tcp-address=${address}`)
    return [...Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}=${value}`])), ...lookupd]
  }

/** One process through its lives: ports and data stay the same over `kill` and `restart`. */
export class NsqNode implements AsyncDisposable {
  readonly ports: { readonly tcp: number; readonly http: number; readonly https: number }
  readonly #program: string
  readonly #args: Arguments
  readonly #folder = temporaryFolder('nsq')
  readonly #process = new ServerProcess()

  constructor(program: string, ports: NsqNode['ports'], args: Arguments) {
    this.#program = program
    this.ports = ports
    this.#args = args
  }

  /** `127.0.0.1:port`. */
  get tcp(): string {
    return `127.0.0.1:${this.ports.tcp}`
  }
  get http(): string {
    return `127.0.0.1:${this.ports.http}`
  }
  get url(): string {
    return this.#program === 'nsqd' ? `nsq://${this.tcp}` : `nsq+lookup://${this.http}`
  }
  get pid(): number | undefined {
    return this.#process.pid
  }

  logs(): string {
    const path = join(this.#folder.path, 'log')
    return existsSync(path) ? readFileSync(path, 'utf8') : ''
  }

  async start(): Promise<void> {
    const program = join(await nsqPrograms(), this.#program + exe)
    const dir = join(this.#folder.path, 'data')
    mkdirSync(dir, { recursive: true })
    const args = [`--tcp-address=${this.tcp}`, `--http-address=${this.http}`, ...this.#args(dir)]
    if (this.#program === 'nsqd') args.push(`--https-address=127.0.0.1:${this.ports.https}`)
    this.#process.start(program, args, join(this.#folder.path, 'log'))
    try {
      await this.#ready()
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /** Sends it and does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.#process.signal(signal)
  }

  /** Resolves when the process has ended; its data stays. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#process.end(signal, 10_000)
  }

  /** Same ports and data; by SIGTERM, at which nsqd writes down what it holds. */
  async restart(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.kill(signal)
    await this.start()
  }

  async stop(): Promise<void> {
    await this.kill('SIGTERM')
    this.#folder.remove()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  /** The HTTP interface; rejects unless the answer is 200. */
  async ask(path: string, body?: Uint8Array | string): Promise<string> {
    const init = body === undefined ? {} : { method: 'POST', body }
    const answer = await fetch(`http://${this.http}${path}`, { ...init, signal: AbortSignal.timeout(5000) })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`)
    return text
  }

  /** What a producer does that knows nothing of us. */
  async publish(topic: string, body: Uint8Array | string): Promise<void> {
    await this.ask(`/pub?topic=${encodeURIComponent(topic)}`, body)
  }

  async #ready(): Promise<void> {
    for (const end = Date.now() + 20_000; ; await sleep(10)) {
      if (!this.#process.runs || Date.now() > end)
        throw new Error(`${this.#program} did not come up: ${this.logs().split('\n').slice(-6).join('\n')}`)
      if ((await this.ask('/ping').catch(() => '')) === 'OK') return
    }
  }
}
