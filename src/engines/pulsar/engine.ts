import { BusError } from '../../errors.ts'
import { within } from '../../within.ts'
import type {
  Capabilities,
  DeliverySink,
  Engine,
  EngineHealth,
  EngineSubscription,
  Finding,
  OnStored,
  Outgoing,
  Page,
  PublishOutcome,
  ReadFrom,
  StorageName,
  SubscriptionSpec,
} from '../engine.ts'
import { patiently } from '../patience.ts'
import { TopicWatch } from '../topic-watch.ts'
import { PulsarAdmin } from './admin.ts'
import { loadLibraries } from './client.ts'
import { Cluster } from './cluster.ts'
import { readyFor, readyForAll } from './compression.ts'
import { Pool } from './connection.ts'
import { diagnose } from './doctor.ts'
import { Health } from './health.ts'
import { History } from './history.ts'
import { Http } from './http.ts'
import { PulsarLive } from './live.ts'
import { checkPulsarOptions, type PulsarOptions } from './options.ts'
import { Codec } from './protocol.ts'
import { Publishing } from './publishing.ts'
import { PulsarSubscription } from './subscription.ts'
import { Topics } from './topics.ts'
import { parsePulsarUrl, type Target } from './url.ts'

const againMs = 500
/** For publishes that are under way when the engine is closed, ms. */
const lastMs = 5000
/** What the metadata of a message takes beside its body, headers included. */
const metadataRoom = 64 * 1024

/**
 * Connects to the brokers.
 * @throws BusError `engine_unavailable`, `engine_missing`, `unauthorized`, `invalid_argument`
 */
export async function openPulsar(url: string, options: PulsarOptions = {}): Promise<Engine> {
  checkPulsarOptions(options)
  const target = parsePulsarUrl(url)
  const codec = new Codec(await loadLibraries())
  await readyFor(options.compression ?? 'none')
  await readyForAll()
  const { waitForServer } = options
  return patiently({ broker: 'Pulsar', waitForServer, waitMs: () => againMs }, async () => {
    const pool = new Pool(options, codec)
    const cluster = new Cluster(target, options, pool)
    try {
      const { maxMessageBytes } = await cluster.any()
      return new PulsarEngine(cluster, pool, await httpOf(target, options, cluster.namespace), maxMessageBytes - metadataRoom)
    } catch (error) {
      cluster.close()
      throw error
    }
  })
}

/** What is guessed may not be there; what is said has to be. */
async function httpOf({ secure, addresses }: Target, options: PulsarOptions, namespace: string): Promise<Http | undefined> {
  const { admin } = options
  if (admin === false) return undefined
  const [first] = addresses
  const host = first!.host.includes(':') ? `[${first!.host}]` : first!.host
  const http = new Http(admin ?? (secure ? `https://${host}:8443` : `http://${host}:8080`), options)
  try {
    await http.ask('GET', `/admin/v2/persistent/${namespace}`)
    return http
  } catch (error) {
    if (admin !== undefined) throw error
    return undefined
  }
}

class PulsarEngine implements Engine {
  readonly name = 'pulsar'
  readonly capabilities: Capabilities
  readonly admin: PulsarAdmin
  readonly live: PulsarLive
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #publishing: Publishing
  readonly #health: Health
  readonly #watch: TopicWatch
  readonly #subscriptions = new Set<PulsarSubscription>()
  readonly #http: Http | undefined
  readonly #history: History | undefined
  #closing: Promise<void> | undefined

  constructor(cluster: Cluster, pool: Pool, http: Http | undefined, maxMessageBytes: number) {
    this.#cluster = cluster
    this.#http = http
    this.#topics = new Topics(cluster, http)
    this.#publishing = new Publishing(cluster, this.#topics, maxMessageBytes)
    this.#health = new Health(cluster, pool)
    this.#watch = new TopicWatch(async () => (await this.#topics.all()).keys())
    this.live = new PulsarLive({ cluster, topics: this.#topics, watch: this.#watch })
    this.#history = http && new History(cluster, this.#topics, http)
    const history = this.#history
    this.admin = new PulsarAdmin({ topics: this.#topics, publishing: this.#publishing, watch: this.#watch, http, history })
    this.capabilities = {
      // A bookie answers once its journal is on disk, unless it was told otherwise (journalSyncData).
      durability: 'disk',
      ordering: 'group',
      orderedPipelining: false,
      dedupeWindowMs: 0,
      delayMaxMs: 3650 * 86_400_000,
      lease: { maxMs: Number.POSITIVE_INFINITY },
      settle: 'message',
      // Nor does a broker count what goes from a member that left or died to another one (4.2.4).
      redelivered: false,
      filter: 'client',
      // Without it nothing is said of what a topic keeps, nor can it be asked.
      history: http !== undefined,
      purgeBefore: false,
      headers: true,
      maxMessageBytes,
      ledger: 'given',
    }
  }

  publish(batch: readonly Outgoing[], _signal?: AbortSignal, stored?: OnStored): Promise<PublishOutcome[]> {
    return this.#publishing.publish(batch, stored)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<EngineSubscription> {
    this.#mustBeOpen()
    const parts = { cluster: this.#cluster, topics: this.#topics, onClose: () => this.#subscriptions.delete(subscription) }
    const subscription = new PulsarSubscription(parts, spec, sink)
    this.#subscriptions.add(subscription)
    try {
      await subscription.start()
      return subscription
    } catch (error) {
      await subscription.close()
      throw error
    }
  }

  async read(storage: StorageName, after: ReadFrom, limit: number): Promise<Page> {
    this.#mustBeOpen()
    if (!this.#history)
      throw new BusError(
        'unsupported',
        "what a Pulsar topic keeps is said over HTTP only, and nobody answers there: set pulsar.admin to its address, like 'http://host:8080'",
      )
    return this.#history.page(storage, after, limit)
  }

  diagnose(): Promise<readonly Finding[]> {
    return diagnose({ http: this.#http, topics: this.#topics, groups: (storage) => this.admin.groups(storage) })
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    return this.#health.listen(listener)
  }

  #mustBeOpen(): void {
    if (this.#closing) throw new BusError('closed', 'the connection to Pulsar is closed; connect again')
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#watch.end()
    await within(lastMs, this.#publishing.refuse())
    await Promise.allSettled([...this.#subscriptions].map((subscription) => subscription.close()))
    await this.live.close()
    this.#publishing.close()
    this.#cluster.close()
  }
}
