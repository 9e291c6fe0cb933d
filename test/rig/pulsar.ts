import { createHmac, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { classArchive, classPath } from './maven.ts'
import { temporaryFolder } from './orphans.ts'
import { freePorts, retryTaken, started } from './ports.ts'
import {
  brokerArguments,
  configFile,
  folderArguments,
  insideRole,
  type PulsarPorts,
  type PulsarSettings,
  pulsarArguments,
  pulsarLogging,
  pulsarProperties,
} from './pulsar-config.ts'
import { pulsarJars, pulsarJava } from './pulsar-server.ts'
import { answering } from './readiness.ts'
import { ServerProcess } from './server-process.ts'

let installed: Promise<string[]> | undefined

/** Resolves to Java's arguments up to the main class, once there are the jars and the archive; rejects with what is missing on this machine. */
export function pulsarProgram(): Promise<string[]> {
  installed ??= install()
  return installed
}

async function install(): Promise<string[]> {
  const jars = await pulsarJars()
  const java = (archive: string): string[] => [archive, ...pulsarJava, '-cp', classPath(jars)]
  return java(
    await classArchive(jars, 'broker', (argument) =>
      retryTaken(async () => {
        const node = await PulsarNode.create({}, java(argument))
        try {
          await node.start()
          // It is written as the JVM ends, which takes a while.
          await node.kill('SIGTERM', 120_000)
        } finally {
          await node.stop()
        }
      }),
    ),
  )
}

/** One broker that answers when this resolves: `await using broker = await startPulsar()`. */
export const startPulsar = (settings: PulsarSettings = {}): Promise<PulsarNode> =>
  started(async () => PulsarNode.create(settings, await pulsarProgram()))

/** One broker through its lives: ports and data stay the same over `kill` and `restart`. */
export class PulsarNode implements AsyncDisposable {
  readonly #settings: PulsarSettings
  readonly #ports: PulsarPorts
  readonly #java: readonly string[]
  readonly #store: string | undefined
  readonly #secret = randomBytes(32)
  readonly #folder = temporaryFolder('pulsar')
  readonly #process = new ServerProcess()

  /** Not yet started. `java`: its arguments up to the main class. `store`: of its cluster; without it the broker is alone. */
  static async create(settings: PulsarSettings, java: readonly string[], store?: string): Promise<PulsarNode> {
    const [broker, brokerTls, http, bookie] = (await freePorts(4)) as [number, number, number, number]
    return new PulsarNode(settings, { broker, brokerTls, http, bookie }, java, store)
  }

  private constructor(settings: PulsarSettings, ports: PulsarPorts, java: readonly string[], store?: string) {
    this.#settings = settings
    this.#ports = ports
    this.#java = java
    this.#store = store
    const { path } = this.#folder
    mkdirSync(join(path, 'tmp'))
    const properties = pulsarProperties(ports, settings, this.#secret.toString('base64'), this.token(insideRole), store)
    writeFileSync(join(path, configFile), properties, { mode: 0o600 })
    writeFileSync(join(path, 'log4j2.xml'), pulsarLogging)
  }

  get port(): number {
    return this.#settings.tls ? this.#ports.brokerTls : this.#ports.broker
  }
  get address(): string {
    return `127.0.0.1:${this.port}`
  }
  get url(): string {
    return `${this.#settings.tls ? 'pulsar+ssl' : 'pulsar'}://${this.address}`
  }
  /** The HTTP interface, without TLS. */
  get admin(): string {
    return `http://127.0.0.1:${this.#ports.http}`
  }
  get pid(): number | undefined {
    return this.#process.pid
  }
  get exited(): Promise<void> {
    return this.#process.exited
  }

  /** What makes this broker take the bearer for that role. `expiresIn`: seconds, also in the past; absent: never. */
  token(role: string, { expiresIn }: { expiresIn?: number } = {}): string {
    const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const claims = { sub: role, ...(expiresIn !== undefined && { exp: Math.floor(Date.now() / 1000) + expiresIn }) }
    const signed = `${part({ alg: 'HS256' })}.${part(claims)}`
    return `${signed}.${createHmac('sha256', this.#secret).update(signed).digest('base64url')}`
  }

  /** What it has written since it was first started. */
  logs(): string {
    const path = join(this.#folder.path, 'out.log')
    return existsSync(path) ? readFileSync(path, 'utf8') : ''
  }

  async start(): Promise<void> {
    const { path } = this.#folder
    const broker = this.#store === undefined ? pulsarArguments(path, this.#ports) : brokerArguments(path)
    this.#process.start('java', [...folderArguments(path), ...this.#java, ...broker], join(path, 'out.log'))
    await answering(
      'pulsar',
      this.#process,
      () => this.logs(),
      async () => {
        await this.ask('/admin/v2/brokers/ready')
        // On a new store it says that it is ready before its namespace is there.
        const namespaces = (await this.ask('/admin/v2/namespaces/public')) as string[]
        if (!namespaces.includes('public/default')) throw new Error('it has no namespace public/default')
      },
      120_000,
    )
  }

  /** Sends it and does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.#process.signal(signal)
  }

  /** Resolves when the process has ended, by force after so long, ms; its data stays. */
  async kill(signal: NodeJS.Signals = 'SIGKILL', withinMs = 20_000): Promise<void> {
    await this.#process.end(signal, withinMs)
  }

  /** Same ports and data. */
  async restart(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.kill(signal)
    await this.start()
  }

  /** The end, and its data is removed. There is nothing to save: by SIGKILL. */
  async stop(): Promise<void> {
    await this.kill()
    this.#folder.remove()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  /**
   * The HTTP interface as one who may do everything: `ask('/admin/v2/persistent/public/default/jobs/partitions', { method: 'PUT', body: 3 })`.
   * Rejects unless the answer is 2xx; resolves to its JSON, or its text when it is none.
   */
  async ask(path: string, { method = 'GET', body }: { method?: string; body?: unknown } = {}): Promise<unknown> {
    const headers: Record<string, string> = { authorization: `Bearer ${this.token(insideRole)}` }
    if (body !== undefined) headers['content-type'] = 'application/json'
    const answer = await fetch(this.admin + path, {
      method,
      headers,
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
    try {
      return JSON.parse(text)
    } catch {
      return text
    }
  }
}
