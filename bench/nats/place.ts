import { join } from 'node:path'
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { goProgram } from '../../test/coze/go-program.ts'
import { type NatsNode, startNats } from '../../test/rig/nats.ts'
import type { Built } from '../built.ts'
import { ended, serving } from '../child.ts'
import type { Figures } from '../figures.ts'
import { figuresOf, type Phase } from '../sides/watch.ts'
import type { Work } from '../sides/work.ts'

/** Where the sides of a case do their work: one server, and the programs beside it. */
export class NatsPlace implements AsyncDisposable {
  readonly url: string
  readonly nc: NatsConnection
  readonly jsm: JetStreamManager
  readonly #server: NatsNode
  readonly #built: Built
  readonly #serving: (() => Promise<void>)[] = []

  private constructor(server: NatsNode, nc: NatsConnection, jsm: JetStreamManager, built: Built) {
    this.url = server.url
    this.nc = nc
    this.jsm = jsm
    this.#server = server
    this.#built = built
  }

  get cli(): string {
    return this.#built.cli
  }

  static async start(built: Built): Promise<NatsPlace> {
    const server = await startNats()
    const nc = await server.connect()
    return new NatsPlace(server, nc, await jetstreamManager(nc), built)
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
    const whole: Work = { library, url: this.url, topic: '', stream: '', group: '', count: 0, size: 128, window: 1000, ...work }
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
    await this.#server.stop()
  }
}
