import { setTimeout as sleep } from 'node:timers/promises'
import { Base } from '@platformatic/kafka'
import { KafkaNode } from './kafka.ts'
import type { KafkaPorts, KafkaSettings } from './kafka-config.ts'
import { freePorts, started } from './ports.ts'

/** Brokers that are their own controllers and know each other when this resolves; topics have a copy on up to three, two of which confirm. */
export const startKafkaCluster = (settings: KafkaSettings = {}, size = 3): Promise<KafkaCluster> =>
  started(async () => {
    const ports = await freePorts(3 * size)
    const places = Array.from({ length: size }, (_, i): KafkaPorts => {
      const [client, inner, controller] = ports.slice(3 * i, 3 * i + 3) as [number, number, number]
      return { client, inner, controller }
    })
    return new KafkaCluster(places.map((place) => new KafkaNode(settings, place, places)))
  })

export class KafkaCluster implements AsyncDisposable {
  readonly nodes: readonly KafkaNode[]

  constructor(nodes: readonly KafkaNode[]) {
    this.nodes = nodes
  }

  /** A comma list of all nodes. */
  get url(): string {
    const [first, ...others] = this.nodes
    return [first!.url, ...others.map(({ address }) => address)].join(',')
  }

  async start(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.format()))
    await Promise.all(this.nodes.map((node) => node.start({ alone: false })))
    await this.ready()
  }

  /** Resolves when each running node knows of all the others that run. */
  async ready(): Promise<void> {
    const running = this.nodes.filter((node) => node.runs)
    await Promise.all(running.map((node) => node.answers(running.length)))
  }

  /** The node that leads a partition of a topic; waits until there is one, and until every copy of the topic is in step when that is asked for. */
  async leaderOf(topic: string, partition = 0, { inStep = false }: { inStep?: boolean } = {}): Promise<KafkaNode> {
    let seen = 'nothing'
    for (const end = Date.now() + 90_000; Date.now() < end; await sleep(100)) {
      const bootstrapBrokers = this.nodes.filter((node) => node.runs).map(({ address }) => address)
      const client = new Base({ clientId: 'rig', bootstrapBrokers, retries: 0, connectTimeout: 1000 })
      try {
        const { topics } = await client.metadata({ topics: [topic], forceUpdate: true })
        const partitions = topics.get(topic)?.partitions ?? []
        seen = JSON.stringify(partitions)
        const leader = this.nodes[(partitions[partition]?.leader ?? 0) - 1]
        const behind = partitions.some(({ leader, isr, replicas }) => leader < 1 || isr.length < replicas.length)
        if (leader?.runs && !(inStep && behind)) return leader
      } catch (error) {
        seen = String(error)
      } finally {
        await client.close().catch(() => {})
      }
    }
    throw new Error(`kafka: time ran out before ${topic} had a leader${inStep ? ' and all copies' : ''}: ${seen}`)
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }
}
