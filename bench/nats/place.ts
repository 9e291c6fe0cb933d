import { join } from 'node:path'
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { goProgram } from '../../test/coze/go-program.ts'
import { startCluster } from '../../test/rig/cluster.ts'
import { startNats } from '../../test/rig/nats.ts'
import type { Built } from '../built.ts'
import type { Case } from '../cases.ts'
import { ended, serving } from '../child.ts'
import type { Figures } from '../figures.ts'
import { figuresOf, type Phase } from '../sides/watch.ts'
import type { Work } from '../sides/work.ts'

/** On one server, or with three copies on three. */
export type NatsCase = Case<NatsPlace> & { readonly replicas?: 3 }

/** Where the sides of a case do their work: one server or three, and the programs beside it. */
export class NatsPlace implements AsyncDisposable {
  /** Of the one that everybody connects to. */
  readonly url: string
  /** Copies of each stream. */
  readonly replicas: 1 | 3
  readonly nc: NatsConnection
  readonly jsm: JetStreamManager
  readonly #servers: AsyncDisposable
  readonly #built: Built
  readonly #serving: (() => Promise<void>)[] = []

  private constructor(url: string, replicas: 1 | 3, servers: AsyncDisposable, nc: NatsConnection, jsm: JetStreamManager, built: Built) {
    this.url = url
    this.replicas = replicas
    this.nc = nc
    this.jsm = jsm
    this.#servers = servers
    this.#built = built
  }

  static async start(built: Built, replicas: 1 | 3 = 1): Promise<NatsPlace> {
    const servers = replicas === 1 ? await startNats() : await startCluster()
    const node = 'nodes' in servers ? servers.nodes[0]! : servers
    const nc = await node.connect()
    return new NatsPlace(node.url, replicas, servers, nc, await jetstreamManager(nc), built)
  }

  get cli(): string {
    return this.#built.cli
  }

  /** A side of bench/sides in a process of its own. */
  async side(file: string, name: string, work: Partial<Work>): Promise<Figures> {
    const { printed } = await ended(process.execPath, this.#args(file, name, work))
    return JSON.parse(printed.trim().split('\n').at(-1)!)
  }

  /** The same for one that serves the others until the place is left. */
  async serve(file: string, name: string, work: Partial<Work>): Promise<void> {
    this.#serving.push(await serving(process.execPath, this.#args(file, name, work)))
  }

  #args(file: string, name: string, work: Partial<Work>): string[] {
    const { sides, extension, library } = this.#built
    const common = { library, url: this.url, topic: '', stream: '', group: '', count: 0, size: 128, window: 1000 }
    const whole: Work = { ...common, ...work, nats: { ...(this.replicas > 1 && { replicas: this.replicas }), ...work.nats } }
    return [join(sides, `run${extension}`), join(sides, `${file}${extension}`), name, JSON.stringify(whole)]
  }

  /** nats.go: bench/peers. To consume the topic is the stream's name. */
  async go(
    phase: 'publish' | 'consume',
    { topic, group, count, size }: Pick<Work, 'topic' | 'group' | 'count' | 'size'>,
  ): Promise<Figures> {
    const program = await goProgram(join(import.meta.dirname, '..', 'peers'))
    const work = ['--topic', topic, '--group', group, '--count', `${count}`, '--size', `${size}`, '--phase', phase]
    const { printed, peak } = await ended(program, ['--broker', 'nats', '--url', new URL(this.url).host, ...work])
    const phases: Record<string, Phase> = JSON.parse(printed.trim().split('\n').at(-1)!)
    return { ...figuresOf(count, phases[phase]!), peak }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#serving.map((end) => end()))
    await this.nc.close()
    await this.#servers[Symbol.asyncDispose]()
  }
}
