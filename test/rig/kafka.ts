import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Base } from '@platformatic/kafka'
import { command } from './install.ts'
import { type KafkaPorts, type KafkaSettings, kafkaLogging, kafkaProperties } from './kafka-config.ts'
import { kafkaJars } from './kafka-server.ts'
import { temporaryFolder } from './orphans.ts'
import { freePorts, retryTaken } from './ports.ts'
import { answering } from './readiness.ts'
import { ServerProcess } from './server-process.ts'

const java = ['-Xms64m', '-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Djava.awt.headless=true']

/** One broker that answers when this resolves: `await using broker = await startKafka()`. */
export const startKafka = (settings: KafkaSettings = {}): Promise<KafkaNode> =>
  retryTaken(async () => {
    const [client, inner, controller] = (await freePorts(3)) as [number, number, number]
    const node = new KafkaNode(settings, { client, inner, controller })
    try {
      await node.format()
      await node.start()
    } catch (error) {
      await node.stop()
      throw error
    }
    return node
  })

/** One broker through its lives: ports and data stay the same over `kill` and `restart`. */
export class KafkaNode implements AsyncDisposable {
  readonly #settings: KafkaSettings
  readonly #ports: KafkaPorts
  readonly #nodes: readonly KafkaPorts[]
  readonly #folder = temporaryFolder('kafka')
  readonly #process = new ServerProcess()

  /** `nodes`: all of its cluster, in the order of their numbers. */
  constructor(settings: KafkaSettings, ports: KafkaPorts, nodes: readonly KafkaPorts[] = [ports]) {
    this.#settings = settings
    this.#ports = ports
    this.#nodes = nodes
  }

  get port(): number {
    return this.#ports.client
  }
  get address(): string {
    return `127.0.0.1:${this.port}`
  }
  get url(): string {
    return `${this.#settings.tls ? 'kafka+ssl' : 'kafka'}://${this.address}`
  }
  get runs(): boolean {
    return this.#process.runs
  }
  get exited(): Promise<void> {
    return this.#process.exited
  }

  /** What it has written since it was first started. */
  logs(): string {
    return ['server.log', 'out.log']
      .map((name) => join(this.#folder.path, name))
      .map((path) => (existsSync(path) ? readFileSync(path, 'utf8') : ''))
      .join('')
  }

  async #classpath(): Promise<string> {
    return `${join(this.#folder.path, 'conf')}:${join(await kafkaJars(), '*')}`
  }

  async format(): Promise<void> {
    const { path } = this.#folder
    mkdirSync(join(path, 'conf'))
    writeFileSync(join(path, 'conf', 'server.properties'), kafkaProperties(path, this.#ports, this.#settings, this.#nodes))
    writeFileSync(join(path, 'conf', 'log4j2.properties'), kafkaLogging(join(path, 'server.log')))
    const scram = Object.entries(this.#settings.users ?? {}).flatMap(([name, password]) =>
      (this.#settings.mechanisms ?? [])
        .filter((mechanism) => mechanism !== 'PLAIN')
        .flatMap((mechanism) => ['--add-scram', `${mechanism}=[name=${name},password=${password}]`]),
    )
    const tool = [
      'kafka.tools.StorageTool',
      'format',
      ...(this.#nodes.length === 1 ? ['--standalone'] : []),
      '-t',
      'MkU3OEVBNTcwNTJENDM2Qg',
      '-c',
      join(path, 'conf', 'server.properties'),
    ]
    await command('java', ['-Xmx128m', '-XX:TieredStopAtLevel=1', '-cp', await this.#classpath(), ...tool, ...scram])
  }

  /** `alone`: it answers only together with others of its cluster, and is not waited for. */
  async start({ alone = true }: { alone?: boolean } = {}): Promise<void> {
    const { path } = this.#folder
    const args = [...java, '-cp', await this.#classpath(), 'kafka.Kafka', join(path, 'conf', 'server.properties')]
    this.#process.start('java', args, join(path, 'out.log'))
    if (alone) await this.answers()
  }

  /** Sends it and does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.#process.signal(signal)
  }

  /** Resolves when the process has ended, by force after 20 s; its data stays. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#process.end(signal, 20_000)
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

  /** Resolves when it knows of so many brokers. */
  answers(brokers = 1): Promise<void> {
    return answering(
      'kafka',
      this.#process,
      () => this.logs(),
      () => this.#ask(brokers),
      90_000,
    )
  }

  async #ask(least: number): Promise<void> {
    const bootstrapBrokers = [`127.0.0.1:${this.#ports.inner}`]
    const client = new Base({ clientId: 'rig', bootstrapBrokers, retries: 0, connectTimeout: 1000 })
    try {
      const { brokers } = await client.metadata({ topics: [] })
      if (brokers.size < least) throw new Error(`it knows of ${brokers.size} brokers`)
    } finally {
      await client.close().catch(() => {})
    }
  }
}
