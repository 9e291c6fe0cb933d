import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { command } from './install.ts'
import { temporaryFolder } from './orphans.ts'
import { freePorts, started } from './ports.ts'
import { PulsarNode, pulsarProgram } from './pulsar.ts'
import { configFile, folderArguments, pulsarLogging, pulsarProperties, storeArguments, storeEnvironment } from './pulsar-config.ts'
import { answering, listens } from './readiness.ts'
import { ServerProcess } from './server-process.ts'

const topicsOf = 'persistent/public/default'

/** Two brokers that answer when this resolves: `await using cluster = await startPulsarCluster()`. */
export const startPulsarCluster = (): Promise<PulsarCluster> => started(() => PulsarCluster.create())

/** Two brokers over one ZooKeeper and one bookie. */
export class PulsarCluster implements AsyncDisposable {
  readonly first: PulsarNode
  readonly second: PulsarNode
  readonly #java: readonly string[]
  readonly #zookeeper: number
  readonly #bookie: number
  readonly #folder = temporaryFolder('pulsar-store')
  readonly #process = new ServerProcess()

  static async create(): Promise<PulsarCluster> {
    const [zookeeper, bookie] = (await freePorts(2)) as [number, number]
    const java = await pulsarProgram()
    const node = (): Promise<PulsarNode> => PulsarNode.create({}, java, `zk:127.0.0.1:${zookeeper}`)
    return new PulsarCluster(await node(), await node(), java, zookeeper, bookie)
  }

  private constructor(first: PulsarNode, second: PulsarNode, java: readonly string[], zookeeper: number, bookie: number) {
    this.first = first
    this.second = second
    this.#java = java
    this.#zookeeper = zookeeper
    this.#bookie = bookie
  }

  async start(): Promise<void> {
    await this.#startStore()
    await this.#introduce()
    await Promise.all([this.first.start(), this.second.start()])
  }

  async #startStore(): Promise<void> {
    const { path } = this.#folder
    mkdirSync(join(path, 'tmp'))
    const ports = { broker: 0, brokerTls: 0, http: 0, bookie: this.#bookie }
    writeFileSync(join(path, configFile), pulsarProperties(ports, {}, '', ''))
    writeFileSync(join(path, 'log4j2.xml'), pulsarLogging)
    const log = join(path, 'out.log')
    const args = [...folderArguments(path), ...this.#java, ...storeArguments(path, this.#zookeeper, this.#bookie)]
    this.#process.start('java', args, log, storeEnvironment)
    const logs = (): string => (existsSync(log) ? readFileSync(log, 'utf8') : '')
    await answering('pulsar store', this.#process, logs, () => listens(this.#bookie), 60_000)
  }

  /** What the brokers find in the store: the cluster, and the namespace public/default. */
  async #introduce(): Promise<void> {
    const store = `zk:127.0.0.1:${this.#zookeeper}`
    const named = ['--cluster', 'standalone', '--metadata-store', store, '--configuration-metadata-store', store]
    const served = ['--web-service-url', this.first.admin, '--broker-service-url', this.first.url]
    await command('java', [
      ...folderArguments(this.#folder.path),
      ...this.#java,
      'org.apache.pulsar.PulsarClusterMetadataSetup',
      ...named,
      ...served,
    ])
  }

  /** The one that has the topic; it is given to one if nobody has it. */
  async holderOf(topic: string): Promise<PulsarNode> {
    const { brokerUrl } = (await this.first.ask(`/lookup/v2/topic/${topicsOf}/${topic}`)) as { brokerUrl: string }
    return brokerUrl === this.second.url ? this.second : this.first
  }

  /**
   * The topic, and those that are held together with it. Clients that look for it meanwhile may have it given to another, or be in the
   * way of who asks: then once more.
   */
  async move(topic: string, to: PulsarNode): Promise<void> {
    const bundle = await this.first.ask(`/lookup/v2/topic/${topicsOf}/${topic}/bundle`)
    const broker = to.admin.slice('http://'.length)
    const unload = `/admin/v2/namespaces/public/default/${bundle}/unload?destinationBroker=${broker}`
    const held = (): Promise<boolean> =>
      this.holderOf(topic).then(
        (node) => node === to,
        () => false,
      )
    for (let left = 20; !(await held()); left--) {
      if (left === 0) throw new Error(`${topic} does not go to ${broker}`)
      await this.first.ask(unload, { method: 'PUT' }).catch(() => sleep(100))
    }
  }

  async stop(): Promise<void> {
    await Promise.all([this.second.stop(), this.first.stop(), this.#process.end('SIGKILL', 20_000)])
    this.#folder.remove()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }
}
