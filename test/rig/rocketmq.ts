import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { classArchive, classPath } from './maven.ts'
import { temporaryFolder } from './orphans.ts'
import { freePorts, retryTaken, started } from './ports.ts'
import { answering } from './readiness.ts'
import { askRemoting } from './remoting.ts'
import { type BrokerPorts, brokerProperties, nameServerProperties, type RocketmqSettings, tlsArguments } from './rocketmq-config.ts'
import { brokerJava, nameServerJava, rocketmqJars } from './rocketmq-server.ts'
import { ServerProcess } from './server-process.ts'

const clusterInfo = 106
const updateConfig = 25

/**
 * What a broker was told of groups that long before it is killed it may have forgotten, however often it writes that down
 * (`flushConsumerOffsetInterval`): it does so for the first time when it has been up for ten seconds (BrokerController).
 */
export const forgetsMs = 10_000

const brokerName = (i: number): string => `broker-${'abcdefgh'[i]}`

/** Java's arguments up to the main class. */
interface Programs {
  readonly nameServer: readonly string[]
  readonly broker: readonly string[]
}

let installed: Promise<Programs> | undefined

/** Resolves once there are the jars and the class archives; rejects with what is missing on this machine. */
export function rocketmqPrograms(): Promise<Programs> {
  installed ??= install()
  return installed
}

async function install(): Promise<Programs> {
  const jars = await rocketmqJars()
  const path = ['-cp', classPath(jars)]
  const train = (archives: (argument: string) => Programs, which: 'nameServer' | 'broker') => (argument: string) =>
    retryTaken(async () => {
      const cluster = await RocketmqCluster.create({}, archives(argument))
      try {
        await cluster.start()
        // It is written as the JVM ends, which takes a while.
        if (which === 'broker') await cluster.brokers[0]!.kill('SIGTERM', 120_000)
        else await cluster.nameServer.kill('SIGTERM', 120_000)
      } finally {
        await cluster.stop()
      }
    })
  const plain = { nameServer: [...nameServerJava, ...path], broker: [...brokerJava, ...path] }
  const nameServer = [
    await classArchive(
      jars,
      'name-server',
      train((own) => ({ ...plain, nameServer: [own, ...plain.nameServer] }), 'nameServer'),
    ),
    ...plain.nameServer,
  ]
  const broker = [
    await classArchive(
      jars,
      'broker',
      train((own) => ({ nameServer, broker: [own, ...plain.broker] }), 'broker'),
    ),
    ...plain.broker,
  ]
  return { nameServer, broker }
}

/** A name server and its brokers, all of which answer when this resolves: `await using rocketmq = await startRocketmq()`. */
export const startRocketmq = (settings: RocketmqSettings = {}): Promise<RocketmqCluster> =>
  started(async () => RocketmqCluster.create(settings, await rocketmqPrograms()))

/** One of its servers through its lives: ports and data stay the same over `kill` and `restart`. */
export class RocketmqServer {
  readonly port: number
  readonly #args: readonly string[]
  readonly #log: string
  readonly #ready: () => Promise<unknown>
  readonly #process = new ServerProcess()

  constructor(port: number, args: readonly string[], log: string, ready: () => Promise<unknown>) {
    this.port = port
    this.#args = args
    this.#log = log
    this.#ready = ready
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }
  get exited(): Promise<void> {
    return this.#process.exited
  }

  /** What it has printed since it was first started. */
  logs(): string {
    return existsSync(this.#log) ? readFileSync(this.#log, 'utf8') : ''
  }

  async start(): Promise<void> {
    this.#process.start('java', [...this.#args], this.#log)
    await answering('rocketmq', this.#process, () => this.logs(), this.#ready)
  }

  /** Sends it and does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.#process.signal(signal)
  }

  /** Resolves when the process has ended, by force after so long, ms; its data stays. A broker takes 20 s to end by SIGTERM. */
  async kill(signal: NodeJS.Signals = 'SIGKILL', withinMs = 40_000): Promise<void> {
    await this.#process.end(signal, withinMs)
  }

  /** Same ports and data. */
  async restart(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.kill(signal)
    await this.start()
  }
}

export class RocketmqCluster implements AsyncDisposable {
  readonly nameServer: RocketmqServer
  readonly brokers: readonly RocketmqServer[]
  readonly #folder = temporaryFolder('rocketmq')

  /** Not yet started. */
  static async create(settings: RocketmqSettings, programs: Programs): Promise<RocketmqCluster> {
    const count = settings.brokers ?? 1
    const ports = await freePorts(1 + 2 * count)
    const brokers = Array.from({ length: count }, (_, i) => ({ client: ports[1 + 2 * i]!, ha: ports[2 + 2 * i]! }))
    return new RocketmqCluster(settings, programs, ports[0]!, brokers)
  }

  private constructor(settings: RocketmqSettings, programs: Programs, port: number, brokers: readonly BrokerPorts[]) {
    const { path } = this.#folder
    const server = (
      name: string,
      at: number,
      java: readonly string[],
      main: string,
      properties: (home: string) => string,
      ready: () => Promise<unknown>,
    ) => {
      const home = join(path, name)
      mkdirSync(home)
      const file = join(home, 'server.conf')
      writeFileSync(file, properties(home), { mode: 0o600 })
      // Its own logs go below the home of a user.
      const own = [`-Duser.home=${home}`, `-Drocketmq.home.dir=${home}`, `-Djava.io.tmpdir=${home}`]
      return new RocketmqServer(at, [...own, ...tlsArguments(settings), ...java, main, '-c', file], join(home, 'out.log'), ready)
    }
    const known = async (name: string, broker: number): Promise<void> => {
      const { body } = await askRemoting(port, clusterInfo)
      if (body.includes(`"${name}"`)) return
      // It misses its first chance to register, as it does not look for name servers before that, and has the next one ten seconds later:
      // unless it is told its permission, which it then makes known.
      await askRemoting(broker, updateConfig, {}, 'brokerPermission=6')
      await sleep(200)
      throw new Error(`the name server does not know ${name}`)
    }
    this.nameServer = server(
      'name-server',
      port,
      programs.nameServer,
      'org.apache.rocketmq.namesrv.NamesrvStartup',
      (home) => nameServerProperties(home, port),
      () => askRemoting(port, clusterInfo),
    )
    this.brokers = brokers.map((ports, i) => {
      const name = brokerName(i)
      return server(
        name,
        ports.client,
        programs.broker,
        'org.apache.rocketmq.broker.BrokerStartup',
        (home) => brokerProperties(home, name, `127.0.0.1:${port}`, ports, settings),
        async () => {
          await askRemoting(ports.client, clusterInfo)
          await known(name, ports.client)
        },
      )
    })
  }

  get url(): string {
    return `rocketmq://${this.nameServer.address}`
  }

  /** What all of them have printed. */
  logs(): string {
    return [this.nameServer, ...this.brokers].map((server) => server.logs()).join('')
  }

  async start(): Promise<void> {
    await this.nameServer.start()
    await Promise.all(this.brokers.map((broker) => broker.start()))
  }

  /** The brokers, one after the other; same ports and data. */
  async restart(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    for (const broker of this.brokers) await broker.restart(signal)
  }

  /** Where a broker keeps what it stores. */
  storeOf(i: number): string {
    return join(this.#folder.path, brokerName(i), 'store')
  }

  /** As brokers come back that were killed before they wrote down what they know of groups for the first time. */
  async restartForgetful(): Promise<void> {
    for (const [i, broker] of this.brokers.entries()) {
      await broker.kill()
      for (const file of ['consumerOffset.json', 'consumerOffset.json.bak']) rmSync(join(this.storeOf(i), 'config', file), { force: true })
      await broker.start()
    }
  }

  /** The end, and its data is removed. There is nothing to save: by SIGKILL. */
  async stop(): Promise<void> {
    await Promise.all([this.nameServer, ...this.brokers].map((server) => server.kill()))
    this.#folder.remove()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }
}
