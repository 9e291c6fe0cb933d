import { setTimeout as sleep } from 'node:timers/promises'
import { BusError, toBusError } from '../../errors.ts'
import { isPrivate } from '../../topic/name.ts'
import { Backoff } from '../backoff.ts'
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
  SubscriptionSpec,
} from '../engine.ts'
import { NsqAdmin } from './admin.ts'
import { Cluster } from './cluster.ts'
import { diagnose } from './doctor.ts'
import { envelopeRoom } from './envelope.ts'
import { NsqLive } from './live.ts'
import { NameRecord } from './name-record.ts'
import { Names } from './names.ts'
import { checkNsqOptions, type NsqOptions } from './options.ts'
import { Publishing } from './publishing.ts'
import { NsqSubscription } from './subscription.ts'
import { TopicWatch } from './topic-watch.ts'
import { type NsqTarget, parseNsqUrl } from './url.ts'

/** nsqd's own, where it does not tell. */
const usual = { maxMessageBytes: 1024 * 1024, maxBodyBytes: 5 * 1024 * 1024, maxDelayMs: 3_600_000, maxMsgTimeoutMs: 900_000 }

/**
 * Connects to the nsqds of an address.
 * @throws BusError `engine_unavailable`, `unauthorized`, `unsupported`, `invalid_argument`
 */
export async function openNsq(url: string, given: NsqOptions = {}): Promise<Engine> {
  checkNsqOptions(given)
  const target = parseNsqUrl(url)
  const options = target.secret === undefined || given.secret !== undefined ? given : { ...given, secret: target.secret }
  const cluster = await patiently(target, options)
  try {
    const limits = await Promise.all(cluster.connected.map((nsqd) => nsqd.limits()))
    const least = (name: keyof (typeof limits)[number], otherwise: number): number => {
      const told = limits.map((one) => one[name]).filter((value) => value !== undefined)
      return told.length > 0 ? Math.min(...told) : otherwise
    }
    return new NsqEngine(cluster, options, {
      maxMessageBytes: least('maxMessageBytes', options.maxMessageBytes ?? usual.maxMessageBytes),
      maxBodyBytes: least('maxBodyBytes', usual.maxBodyBytes),
      maxDelayMs: least('maxDelayMs', options.maxDelayMs ?? usual.maxDelayMs),
    })
  } catch (error) {
    await cluster.close()
    throw error
  }
}

/** Tries as long as `waitForServer` says; what does not get better with time is thrown at once. */
async function patiently(target: NsqTarget, options: NsqOptions): Promise<Cluster> {
  const { waitForServer = false } = options
  const end = typeof waitForServer === 'number' ? performance.now() + waitForServer : waitForServer ? Number.POSITIVE_INFINITY : 0
  const backoff = new Backoff(options)
  for (;;) {
    try {
      return await Cluster.open(target, options)
    } catch (thrown) {
      const error = toBusError(thrown)
      const waitMs = backoff.next()
      if (!error.retryable || performance.now() + waitMs > end) throw error
      await sleep(waitMs)
    }
  }
}

class NsqEngine implements Engine {
  readonly name = 'nsq'
  readonly capabilities: Capabilities
  readonly admin: NsqAdmin
  readonly live: NsqLive
  readonly #cluster: Cluster
  readonly #names = new Names()
  readonly #watch: TopicWatch
  readonly #publishing: Publishing
  readonly #subscriptions = new Set<NsqSubscription>()
  readonly #isRaw: (storage: string) => boolean
  /** nsqd's own, of a message as it gets it. */
  readonly #wireBytes: number
  #closed: Promise<void> | undefined

  constructor(cluster: Cluster, options: NsqOptions, limits: { maxMessageBytes: number; maxBodyBytes: number; maxDelayMs: number }) {
    this.#cluster = cluster
    this.#wireBytes = limits.maxMessageBytes
    const { raw = isCozes } = options
    this.#isRaw = (storage) => !isPrivate(storage) && (typeof raw === 'function' ? raw(storage) : raw)
    const record = new NameRecord(cluster, this.#names)
    this.#watch = new TopicWatch(cluster, this.#names, record)
    const parts = { cluster, names: this.#names, isRaw: this.#isRaw, watch: this.#watch }
    this.live = new NsqLive(parts)
    this.admin = new NsqAdmin({
      ...parts,
      record,
      oldestAt: (storage, group) => {
        const times = [...this.#subscriptions].flatMap((one) => (one.group === group ? (one.oldestAt(storage) ?? []) : []))
        return times.length > 0 ? Math.min(...times) : undefined
      },
    })
    this.capabilities = {
      durability: 'memory',
      ordering: 'none',
      orderedPipelining: false,
      dedupeWindowMs: 0,
      delayMaxMs: limits.maxDelayMs,
      lease: { maxMs: Math.min(...cluster.nodes.map(({ info }) => info?.max_msg_timeout ?? usual.maxMsgTimeoutMs)) },
      settle: 'message',
      redelivered: true,
      filter: 'client',
      history: false,
      purgeBefore: false,
      headers: true,
      // A body that is no JSON text grows by a third in its envelope.
      maxMessageBytes: Math.floor(Math.max(1, limits.maxMessageBytes - envelopeRoom) * 0.75),
      ledger: 'given',
    }
    this.#publishing = new Publishing({
      ...parts,
      ...limits,
      maxBytesOf: (storage) => this.maxBytesOf(storage),
      published: this.#watch.saw,
    })
  }

  publish(batch: readonly Outgoing[], _signal?: AbortSignal, stored?: OnStored): Promise<PublishOutcome[]> {
    return this.#publishing.publish(batch, stored)
  }

  maxBytesOf(storage: string): number {
    return this.#isRaw(storage) ? this.#wireBytes : this.capabilities.maxMessageBytes
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<EngineSubscription> {
    if (this.#closed) throw new BusError('closed', 'the engine is closed')
    if (spec.order !== 'none' && spec.orderScope === 'group')
      throw new BusError(
        'unsupported',
        `NSQ keeps no order across the members of a group: use orderScope: 'process' with one member, order: 'none', or another engine`,
      )
    const subscription: NsqSubscription = new NsqSubscription(
      {
        cluster: this.#cluster,
        names: this.#names,
        isRaw: this.#isRaw,
        forward: (storage, body, delayMs) => this.#publishing.forward(storage, body, delayMs),
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
      throw error
    }
    return subscription
  }

  read(): Promise<Page> {
    return Promise.reject(
      new BusError('unsupported', 'NSQ keeps no history: a message is gone once its groups have it; subscribe with a group of its own'),
    )
  }

  diagnose(): Promise<readonly Finding[]> {
    return diagnose(this.#cluster, this.#names)
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    return this.#cluster.onHealth(listener)
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    const published = this.#publishing.close()
    this.#watch.close()
    await Promise.allSettled([this.live.close(), ...[...this.#subscriptions].map((subscription) => subscription.close())])
    await published
    await this.#cluster.close()
  }
}

function isCozes(storage: string): boolean {
  return storage.startsWith('opencoze_')
}
