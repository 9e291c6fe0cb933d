import { type JetStreamClient, jetstream, jetstreamManager } from '@nats-io/jetstream'
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
import { NatsAdmin } from './admin.ts'
import { type Api, patientApi } from './api.ts'
import { Buckets } from './buckets.ts'
import { Checkpoints } from './checkpoints.ts'
import { Connection, maxBytes } from './connection.ts'
import { Consumers } from './consumers.ts'
import { CoreEngine } from './core.ts'
import { resolveTarget, type Target } from './dial.ts'
import { diagnose } from './doctor/diagnose.ts'
import { Doubts } from './doubts.ts'
import { jetStreamInfo, natsError } from './failure.ts'
import { NatsKv } from './kv.ts'
import { NatsLedger } from './ledger.ts'
import { NatsLive } from './live.ts'
import type { NatsOptions } from './options.ts'
import { Publishing } from './publishing.ts'
import { readPage } from './reading.ts'
import { NatsRequests } from './requests.ts'
import { Streams } from './streams.ts'
import { NatsSubscription } from './subscription.ts'

/** An answer that takes longer is taken for lost: what may be asked twice is. */
const apiTimeoutMs = 2000
const listTimeoutMs = 6000

/**
 * Connects to NATS.
 * @throws BusError `unauthorized`, `engine_unavailable`, `unsupported` for a server without JetStream, `invalid_argument`
 */
export async function openNats(url: string, given: NatsOptions = {}): Promise<Engine> {
  const target = resolveTarget(url, given)
  const { waitForServer, reconnectWaitMs = 2000, reconnectJitterMs = 1000 } = target.options
  const waitMs = (): number => reconnectWaitMs + Math.random() * reconnectJitterMs
  return patiently({ broker: 'NATS', waitForServer, waitMs }, () => openOnce(target))
}

async function openOnce(target: Target): Promise<Engine> {
  const { options } = target
  const connection = await Connection.open(target)
  if (options.jetstream === false) return new CoreEngine(connection)
  try {
    const js = jetstream(connection.nc, { timeout: apiTimeoutMs })
    const jsm = await jetstreamManager(connection.nc, { checkAPI: false, timeout: apiTimeoutMs })
    const { api } = await jetStreamInfo(jsm)
    const lists = await jetstreamManager(connection.nc, { checkAPI: false, timeout: listTimeoutMs })
    return new NatsEngine(connection, js, patientApi(jsm, lists), options, api.level ?? 0)
  } catch (error) {
    await connection.close()
    throw error
  }
}

class NatsEngine implements Engine {
  readonly name = 'nats'
  readonly capabilities: Capabilities
  readonly admin: NatsAdmin
  readonly live: NatsLive
  readonly requests: NatsRequests
  readonly kv: NatsKv
  readonly ledger: NatsLedger
  readonly #connection: Connection
  readonly #api: Api
  readonly #streams: Streams
  readonly #consumers: Consumers
  readonly #checkpoints: Checkpoints
  readonly #buckets: Buckets
  readonly #options: NatsOptions
  readonly #publishing: Publishing
  readonly #subscriptions = new Set<NatsSubscription>()
  #closed: Promise<void> | undefined

  constructor(connection: Connection, js: JetStreamClient, api: Api, options: NatsOptions, apiLevel: number) {
    this.#connection = connection
    this.#options = options
    this.#api = api
    this.#streams = new Streams(api, options, () => connection.nc.info?.cluster !== undefined, apiLevel)
    this.#consumers = new Consumers(api, options)
    this.#buckets = new Buckets(js, api, options)
    this.#checkpoints = new Checkpoints(this.#buckets, this.#consumers)
    this.admin = new NatsAdmin(connection, api, this.#streams, this.#consumers, this.#checkpoints, this.#buckets, options)
    this.live = new NatsLive(connection)
    this.requests = new NatsRequests(connection)
    this.kv = new NatsKv({ connection, api, buckets: this.#buckets })
    this.ledger = new NatsLedger(`nats (${connection.nc.getServer()})`, connection, api, this.#buckets)
    const streams = this.#streams
    this.capabilities = {
      get durability() {
        return streams.inMemory ? ('memory' as const) : ('page-cache' as const)
      },
      ordering: 'group',
      orderedPipelining: false,
      get dedupeWindowMs() {
        return streams.dedupeWindowMs
      },
      delayMaxMs: 0,
      lease: { maxMs: Number.POSITIVE_INFINITY },
      settle: 'message',
      redelivered: true,
      filter: 'broker',
      history: true,
      purgeBefore: true,
      headers: true,
      maxMessageBytes: maxBytes(connection),
      ledger: 'native',
    }
    this.#publishing = new Publishing(connection, this.#streams, new Doubts(connection, api), this.capabilities.maxMessageBytes)
  }

  publish(batch: readonly Outgoing[], _signal?: AbortSignal, stored?: OnStored): Promise<PublishOutcome[]> {
    return this.#publishing.publish(batch, stored)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<EngineSubscription> {
    this.#connection.mustBeConnected()
    const subscription: NatsSubscription = new NatsSubscription(
      {
        connection: this.#connection,
        streams: this.#streams,
        consumers: this.#consumers,
        checkpoints: this.#checkpoints,
        buckets: this.#buckets,
        durables: this.#options.durables,
        warn: (text) => sink.warned(text),
        onClose: () => this.#subscriptions.delete(subscription),
      },
      spec,
      sink,
    )
    this.#subscriptions.add(subscription)
    try {
      await subscription.start()
    } catch (error) {
      await subscription.close().catch(() => {})
      throw natsError(error, `group '${spec.group}'`)
    }
    return subscription
  }

  read(storage: StorageName, after: ReadFrom, limit: number): Promise<Page> {
    return readPage(this.#connection, this.#api, this.#streams, storage, after, limit)
  }

  diagnose(): Promise<readonly Finding[]> {
    return diagnose(this.#connection.nc, this.#api, this.#options)
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    return this.#connection.onHealth(listener)
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await Promise.allSettled([...this.#subscriptions].map((subscription) => subscription.close()))
    this.admin.close()
    this.#publishing.close()
    await this.#connection.close()
  }
}
