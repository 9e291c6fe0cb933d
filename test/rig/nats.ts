import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type NatsConnection, type NodeConnectionOptions } from '@nats-io/transport-node'
import { openAccess } from './access.ts'
import { type NatsIdentity, type NatsSettings, natsConfig } from './nats-config.ts'
import { natsServer, natsVersions } from './nats-server.ts'
import { temporaryFolder } from './orphans.ts'
import { freePorts, retryTaken } from './ports.ts'
import { ServerProcess } from './server-process.ts'

export interface NatsOptions extends NatsSettings {
  version?: string
  /** A free one, unless given. */
  port?: number
  /** Where it stores; a temporary folder, removed by `stop`, unless given. */
  dir?: string
}

/** A server that answers when this resolves: `await using server = await startNats()`. */
export const startNats = ({ version = natsVersions[0], port, dir, ...settings }: NatsOptions = {}): Promise<NatsNode> =>
  retryTaken(async () => {
    const node = new NatsNode(version, settings, await newIdentity(`rig-${crypto.randomUUID().slice(0, 8)}`, port), dir)
    await node.start()
    return node
  })

export async function newIdentity(name: string, port?: number): Promise<Omit<NatsIdentity, 'store'>> {
  const [free, monitor, websocket, route] = (await freePorts(4)) as [number, number, number, number]
  return { name, ports: { port: port ?? free, monitor, websocket, route } }
}

/** One server through its lives: port, name and data stay the same over `kill` and `restart`. */
export class NatsNode implements AsyncDisposable {
  readonly name: string
  readonly #identity: NatsIdentity
  readonly #folder = temporaryFolder('nats')
  #version: string
  #settings: NatsSettings
  readonly #process = new ServerProcess()

  constructor(version: string, settings: NatsSettings, identity: Omit<NatsIdentity, 'store'>, dir?: string) {
    this.name = identity.name
    this.#version = version
    this.#settings = { ...settings, access: settings.access ?? openAccess() }
    this.#identity = { ...identity, store: dir ?? join(this.#folder.path, 'store') }
  }

  get port(): number {
    return this.#identity.ports.port
  }
  get url(): string {
    return `${this.#settings.tls ? 'tls' : 'nats'}://127.0.0.1:${this.port}`
  }
  get websocketUrl(): string {
    return `${this.#settings.tls ? 'wss' : 'ws'}://127.0.0.1:${this.#identity.ports.websocket}`
  }
  get monitorUrl(): string {
    return `http://127.0.0.1:${this.#identity.ports.monitor}`
  }
  get routePort(): number {
    return this.#identity.ports.route
  }
  get dir(): string {
    return this.#identity.store
  }
  get pid(): number | undefined {
    return this.#process.pid
  }
  /** Resolves when the process that runs now has ended; at once when none does. */
  get exited(): Promise<void> {
    return this.#process.exited
  }

  /** What nats.js needs to get in; `system`: as a user of the system account. */
  clientOptions(system = false): NodeConnectionOptions {
    const { access, tls } = this.#settings
    const identity = system ? access!.system : access!.client
    if (!identity) throw new Error('this access has no system user')
    const { paths } = tls?.certificates ?? {}
    const certificate = tls?.verify && paths ? { certFile: paths.clientCert, keyFile: paths.clientKey } : {}
    // The certificate may be for a name that is not this address: that is for tests to find out, not for us.
    const anyName = { checkServerIdentity: () => undefined }
    const secure = paths && { tls: { caFile: paths.ca, ...certificate, ...anyName, ...(tls?.handshakeFirst && { handshakeFirst: true }) } }
    return { servers: `127.0.0.1:${this.port}`, ...identity, ...secure }
  }

  connect(options: NodeConnectionOptions = {}, system = false): Promise<NatsConnection> {
    return connect({ ...this.clientOptions(system), ...options })
  }

  /** What it has written since it was first started. */
  logs(): string {
    const path = join(this.#folder.path, 'log')
    return existsSync(path) ? readFileSync(path, 'utf8') : ''
  }

  async start(): Promise<void> {
    await this.launch()
    try {
      await this.#ready()
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /** Starts the process and does not wait for it to answer: a node of a cluster only can when it has met the others. */
  async launch(): Promise<void> {
    const program = await natsServer(this.#version)
    this.#process.start(program, ['-c', this.#writeConfig()], join(this.#folder.path, 'log'))
  }

  /** Sends it and does not wait; nothing when no process runs. */
  signal(signal: NodeJS.Signals): void {
    this.#process.signal(signal)
  }

  /** Resolves when the process has ended, by force after 10 s; its data stays. For a signal that does not end it, `signal`. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#process.end(signal, 10_000)
  }

  /** The server tells its clients to go elsewhere, closes them one by one and ends: some 30 s at most. */
  lameDuck(): Promise<void> {
    this.signal('SIGUSR2')
    return this.exited
  }

  /** Same port, name and data; by SIGTERM when it runs. Settings and version may change. */
  async restart({ version, ...changes }: NatsSettings & { version?: string } = {}): Promise<void> {
    await this.kill('SIGTERM')
    this.#version = version ?? this.#version
    Object.assign(this.#settings, changes)
    await this.start()
  }

  /** Changes the configuration of the running server; resolves when it says it has. */
  async reload(changes: NatsSettings): Promise<void> {
    Object.assign(this.#settings, changes)
    this.#writeConfig()
    const before = this.logs().length
    this.signal('SIGHUP')
    const said = (): string => this.logs().slice(before)
    await this.until('it has read the configuration', async () => /(Reloaded|Failed to reload) server configuration/.test(said()))
    if (/Failed to reload/.test(said())) throw new Error(said())
  }

  /** The end: by SIGTERM, and its data is removed. */
  async stop(): Promise<void> {
    await this.kill('SIGTERM')
    this.#folder.remove()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  /** Asks until it is so, an error being a no; rejects after 20 s, or when the process ends meanwhile, with what the server wrote last. */
  async until(what: string, ask: () => Promise<boolean>): Promise<void> {
    let cause: unknown
    for (const end = Date.now() + 20_000; ; await sleep(15)) {
      const reason = !this.#process.runs ? 'the process ended' : Date.now() > end ? 'time ran out' : undefined
      if (reason) throw new Error(`${this.name}: ${reason} before ${what}\n${lastLines(this.logs())}`, { cause })
      if (await ask().catch((error: unknown) => void (cause = error))) return
    }
  }

  #writeConfig(): string {
    const path = join(this.#folder.path, 'nats.conf')
    writeFileSync(path, natsConfig(this.#identity, this.#settings))
    return path
  }

  /** By asking: the exit code is 0 for a wrong flag too, and an old line of the log says nothing. A node of a cluster may have no leader yet. */
  async #ready(): Promise<void> {
    const stores = this.#settings.jetstream !== false && !this.#identity.cluster
    await this.until('it answers', async () => {
      const client = await this.connect({ reconnect: false, timeout: 1000 })
      try {
        // Another server may hold the port; then ours is about to end.
        if (client.info!.server_name !== this.name) return false
        return !stores || !(await client.request('$JS.API.INFO', '', { timeout: 500 })).json<{ error?: unknown }>().error
      } finally {
        await client.close()
      }
    })
  }
}

export const lastLines = (log: string): string => log.split('\n').slice(-8).join('\n')
