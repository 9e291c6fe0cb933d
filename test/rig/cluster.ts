import { setTimeout as sleep } from 'node:timers/promises'
import { type JetStreamManager, jetstreamManager, StorageType } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { lastLines, NatsNode, type NatsOptions, newIdentity } from './nats.ts'
import { natsVersions } from './nats-server.ts'
import { retryTaken } from './ports.ts'

export interface ClusterOptions extends Omit<NatsOptions, 'port' | 'dir'> {
  nodes?: number
}

const patienceMs = 30_000
/** Servers of 2.10 that start at the same moment close each other's routes now and then, and one stays alone: then all of them anew. */
const meetMs = 15_000
const tries = 3

/** Servers that have found each other, when this resolves: a stream with a copy on each can be made. */
export async function startCluster(options: ClusterOptions = {}): Promise<NatsCluster> {
  for (let left = tries - 1; ; left--) {
    try {
      return await retryTaken(() => NatsCluster.start(options))
    } catch (error) {
      if (left === 0 || !/time ran out/.test(String(error))) throw error
    }
  }
}

export class NatsCluster implements AsyncDisposable {
  readonly name = `rig-${crypto.randomUUID().slice(0, 8)}`
  readonly #options: ClusterOptions
  readonly #nodes: NatsNode[] = []
  #made = 0

  private constructor(options: ClusterOptions) {
    this.#options = options
  }

  static async start(options: ClusterOptions): Promise<NatsCluster> {
    const cluster = new NatsCluster(options)
    try {
      const count = options.nodes ?? 3
      const identities = await Promise.all(Array.from({ length: count }, () => cluster.#identity()))
      const routes = identities.map(({ ports }) => ports.route)
      await Promise.all(identities.map((identity) => cluster.#launch(identity, routes)))
      await cluster.ready(meetMs)
      return cluster
    } catch (error) {
      await cluster.stop()
      throw error
    }
  }

  /** In the order they came. Stopped ones stay until they are removed. */
  get nodes(): readonly NatsNode[] {
    return this.#nodes
  }
  get running(): NatsNode[] {
    return this.#nodes.filter((node) => node.pid !== undefined)
  }
  /** A comma list of all nodes. */
  get url(): string {
    return this.#nodes.map((node) => node.url).join(',')
  }

  /** Resolves when all running nodes are current and streams with as many copies as there are nodes, the most being five, can be made. */
  async ready(withinMs = patienceMs): Promise<void> {
    const size = this.running.length
    if (this.#options.jetstream === false)
      return this.#until('all have met', async (client) => (client.info!.connect_urls?.length ?? 0) >= size, withinMs)
    // A node that came back hears how far the others are with what is decided next: each look makes something to decide.
    const made = async (client: NatsConnection): Promise<boolean> => {
      const jsm = await manager(client)
      const copies = Math.min(size, 5)
      const name = `RIG_READY_${copies}`
      // The same one again after a timeout: it may have been made.
      await jsm.streams.add({ name, subjects: [name], storage: StorageType.Memory, num_replicas: copies })
      await jsm.streams.delete(name)
      return (await this.#peers()).filter(({ current }) => current).length >= size
    }
    await this.#until('a stream can be made, and all are current', made, withinMs)
  }

  /** The node that leads a stream, or one of its consumers; while there is none it waits. */
  async leaderOf(stream: string, consumer?: string): Promise<NatsNode> {
    let leader: NatsNode | undefined
    await this.#until(`${stream} has a leader`, async (client) => {
      const jsm = await manager(client)
      const { cluster } = consumer === undefined ? await jsm.streams.info(stream) : await jsm.consumers.info(stream, consumer)
      leader = this.running.find(({ name }) => name === cluster?.leader)
      return leader !== undefined
    })
    return leader!
  }

  /** The leader hands over to another node, of a consumer if one is named; resolves when there is a new one. */
  async stepDown(stream: string, consumer?: string): Promise<NatsNode> {
    const before = await this.leaderOf(stream, consumer)
    const subject = consumer === undefined ? `STREAM.LEADER.STEPDOWN.${stream}` : `CONSUMER.LEADER.STEPDOWN.${stream}.${consumer}`
    await this.#until('the leader steps down', async (client) => {
      await client.request(`$JS.API.${subject}`, '', { timeout: 500 })
      return (await this.leaderOf(stream, consumer)) !== before
    })
    return this.leaderOf(stream, consumer)
  }

  async addNode(): Promise<NatsNode> {
    const routes = this.#nodes.map(({ routePort }) => routePort)
    const node = await this.#launch(await this.#identity(), routes)
    await node.until('it answers', () =>
      node.connect({ reconnect: false, timeout: 1000 }).then((client) => client.close().then(() => true)),
    )
    await this.ready()
    return node
  }

  /** Ends it and takes it out of the cluster for good: what it held is copied to others, and it no longer counts for a majority. */
  async removeNode(node: NatsNode): Promise<void> {
    const known = this.#options.jetstream !== false
    // Only the system account may do it: an access without one fails here, not at the end of our patience.
    if (known) node.clientOptions(true)
    await node.stop()
    this.#nodes.splice(this.#nodes.indexOf(node), 1)
    if (!known) return
    await this.#until(`${node.name} is out`, async () => {
      if (!(await this.#peers()).some(({ name }) => name === node.name)) return true
      await this.#as(true, (client) => client.request('$JS.API.SERVER.REMOVE', JSON.stringify({ peer: node.name }), { timeout: 1000 }))
      return false
    })
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.stop()))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #identity(): ReturnType<typeof newIdentity> {
    return newIdentity(`${this.name}-${++this.#made}`)
  }

  async #launch(identity: Awaited<ReturnType<typeof newIdentity>>, routes: readonly number[]): Promise<NatsNode> {
    const { version = natsVersions[0], nodes: _, ...settings } = this.#options
    const node = new NatsNode(version, settings, { ...identity, cluster: { name: this.name, routes } })
    this.#nodes.push(node)
    await node.launch()
    return node
  }

  /** The members of the group that leads JetStream, as its leader sees them. */
  async #peers(): Promise<{ name: string; current: boolean }[]> {
    for (const { name, monitorUrl } of this.running) {
      const answer = await fetch(`${monitorUrl}/jsz`, { signal: AbortSignal.timeout(1000) }).catch(() => undefined)
      const { meta_cluster: meta } = ((await answer?.json()) ?? {}) as { meta_cluster?: Meta }
      // Others list members too, but as current only the leader. Itself it does not list.
      if (meta?.leader === name) return [{ name, current: true }, ...(meta.replicas ?? [])]
    }
    return []
  }

  async #as<T>(system: boolean, ask: (client: NatsConnection) => Promise<T>): Promise<T> {
    const running = this.running
    const client = await running[Math.floor(Math.random() * running.length)]!.connect({ reconnect: false, timeout: 1000 }, system)
    try {
      return await ask(client)
    } finally {
      await client.close()
    }
  }

  /** Before there is a leader requests get no answer, or an error that is not final: short limits, and again, each time at any node. */
  async #until(what: string, ask: (client: NatsConnection) => Promise<boolean>, withinMs = patienceMs): Promise<void> {
    let cause: unknown
    for (const end = Date.now() + withinMs; Date.now() < end && this.running.length > 0; await sleep(30))
      if (await this.#as(false, ask).catch((error: unknown) => void (cause = error))) return
    const logs = this.#nodes.map((node) => `${node.name}:\n${lastLines(node.logs())}`)
    throw new Error(`${this.name}: ${this.running.length > 0 ? 'time ran out' : 'no node runs'} before ${what}\n${logs.join('\n')}`, {
      cause,
    })
  }
}

interface Meta {
  leader?: string
  replicas?: { name: string; current: boolean }[]
}

const manager = (client: NatsConnection): Promise<JetStreamManager> => jetstreamManager(client, { timeout: 400, checkAPI: false })
