import { resolve } from 'node:path'
import { BusError } from '../../errors.ts'
import type {
  Capabilities,
  DeliverySink,
  Engine,
  EngineHealth,
  EngineSubscription,
  Outgoing,
  Page,
  PublishOutcome,
  ReadFrom,
  StorageName,
  SubscriptionSpec,
} from '../engine.ts'
import { EmbeddedAdmin } from './admin.ts'
import { hear } from './bell.ts'
import { buffersOf, packOutgoing } from './columns.ts'
import { EmbeddedKv } from './kv.ts'
import { EmbeddedLedger } from './ledger.ts'
import { Link } from './link.ts'
import { EmbeddedLive } from './live.ts'
import { EmbeddedRequests } from './requests.ts'
import { EmbeddedStored, EmbeddedSubscription } from './subscription.ts'

export interface EmbeddedOptions {
  /** The folder of the store; undefined keeps it in memory. */
  readonly dir: string | undefined
  /** How long the same id is stored once, ms. Default 10 minutes. */
  readonly dedupeWindowMs?: number | undefined
  /** The most bytes of bodies the store holds; publishing past it is refused. Default: no limit but the disk. */
  readonly maxBytes?: number | undefined
  /** How long messages are kept after every group has settled them, ms. Default 7 days. */
  readonly historyMs?: number | undefined
}

const maxMessageBytes = 64 * 1024 * 1024
const delayMaxMs = 10 * 365 * 24 * 3600_000
const chunkMessages = 1000
const chunkBytes = 4 * 1024 * 1024
const pollMs = 1000
const pollUnwatchedMs = 25

/** Opens or makes a store. @throws BusError `store_readonly`, `store_corrupt`, `store_newer`, `store_full`, `unsupported` (network disk) */
export async function openEmbedded(options: EmbeddedOptions): Promise<Engine> {
  const dir = options.dir === undefined ? undefined : resolve(options.dir)
  const engine = new EmbeddedEngine(dir, options.dedupeWindowMs ?? 10 * 60_000)
  await engine.open(options)
  return engine
}

class EmbeddedEngine implements Engine {
  readonly name = 'embedded'
  readonly capabilities: Capabilities
  readonly #dir: string | undefined
  readonly #subscriptions = new Map<number, EmbeddedSubscription>()
  readonly #listeners = new Set<(health: EngineHealth) => void>()
  #link!: Link
  #bell: ReturnType<typeof hear>
  #admin!: EmbeddedAdmin
  #ledger!: EmbeddedLedger
  #live!: EmbeddedLive
  #requests!: EmbeddedRequests
  #kv!: EmbeddedKv
  #nextId = 1
  #closed: Promise<void> | undefined

  constructor(dir: string | undefined, dedupeWindowMs: number) {
    this.#dir = dir
    this.capabilities = {
      durability: dir === undefined ? 'memory' : 'disk',
      ordering: 'group',
      orderedPipelining: true,
      dedupeWindowMs,
      delayMaxMs,
      lease: { maxMs: Number.POSITIVE_INFINITY },
      settle: 'message',
      redelivered: true,
      filter: 'broker',
      history: true,
      purgeBefore: true,
      headers: true,
      maxMessageBytes,
      ledger: 'native',
    }
  }

  async open(options: EmbeddedOptions): Promise<void> {
    const dir = this.#dir
    const link = await Link.open(
      {
        dir,
        dedupeWindowMs: this.capabilities.dedupeWindowMs,
        historyMs: options.historyMs ?? 7 * 24 * 3600_000,
        maxBytes: options.maxBytes ?? Number.POSITIVE_INFINITY,
        pollMs: dir === undefined ? Number.POSITIVE_INFINITY : pollMs,
      },
      this.#pushed,
    )
    this.#link = link
    this.#bell = dir === undefined ? undefined : hear(dir, () => link.wake())
    if (dir !== undefined && !this.#bell) link.pollEvery(pollUnwatchedMs)
    this.#admin = new EmbeddedAdmin(link)
    this.#ledger = new EmbeddedLedger(link, dir === undefined ? 'embedded (memory)' : `embedded (${dir})`)
    this.#live = new EmbeddedLive(link)
    this.#requests = new EmbeddedRequests(link)
    this.#kv = new EmbeddedKv(link)
  }

  get admin(): EmbeddedAdmin {
    return this.#admin
  }

  get ledger(): EmbeddedLedger {
    return this.#ledger
  }

  get live(): EmbeddedLive {
    return this.#live
  }

  get requests(): EmbeddedRequests {
    return this.#requests
  }

  get kv(): EmbeddedKv {
    return this.#kv
  }

  #pushed: Parameters<typeof Link.open>[1] = (reply) => {
    switch (reply.op) {
      case 'deliver':
        this.#subscriptions.get(reply.subscription)?.take(reply.source, reply.fence, reply.columns)
        break
      case 'lost':
        this.#subscriptions.get(reply.subscription)?.lose(reply.source, reply.fence, reply.sequences)
        break
      case 'live':
        this.#live.take(reply.listener, reply.columns)
        break
      case 'records':
        this.#ledger.changed(reply.changes)
        break
      case 'kv':
        this.#kv.take(reply.watch, reply.entries, reply.ready)
        break
      case 'question':
        this.#requests.asked(reply.responder, reply.question, reply.message)
        break
      case 'answer':
        this.#requests.answered(reply.question, reply.reply)
        break
      case 'topic':
        this.#admin.appeared(reply.storages)
        break
      case 'health':
        if (reply.forGood) for (const subscription of this.#subscriptions.values()) subscription.trouble = reply.detail
        for (const listener of this.#listeners) listener({ ok: reply.ok, detail: reply.detail })
    }
  }

  async publish(batch: readonly Outgoing[], signal?: AbortSignal): Promise<PublishOutcome[]> {
    if (signal?.aborted)
      throw new BusError('aborted', 'the publish was aborted before it was sent; nothing was stored', { cause: signal.reason })
    const outcomes = new Array<PublishOutcome>(batch.length)
    const sent: Promise<void>[] = []
    for (let from = 0; from < batch.length; ) {
      if (batch[from]!.body.byteLength > maxMessageBytes) {
        outcomes[from] = {
          ok: false,
          error: new BusError(
            'message_too_large',
            `the body of message '${batch[from]!.id}' has ${batch[from]!.body.byteLength} bytes; the embedded store takes up to ${maxMessageBytes}. Send a smaller one, or turn claimCheck on`,
          ),
        }
        from++
        continue
      }
      let to = from
      for (
        let bytes = 0;
        to < batch.length && to - from < chunkMessages && bytes < chunkBytes && batch[to]!.body.byteLength <= maxMessageBytes;
        to++
      )
        bytes += batch[to]!.body.byteLength
      sent.push(this.#send(batch, from, to, outcomes))
      from = to
    }
    await Promise.all(sent)
    return outcomes
  }

  async #send(batch: readonly Outgoing[], from: number, to: number, outcomes: PublishOutcome[]): Promise<void> {
    const columns = packOutgoing(batch, from, to)
    try {
      const { positions, duplicates, errors } = await this.#link.publish(columns, buffersOf(columns))
      for (let i = from; i < to; i++)
        outcomes[i] = { ok: true, position: positions[i - from] === 0 ? undefined : String(positions[i - from]), duplicate: false }
      for (const i of duplicates) outcomes[from + i] = { ...(outcomes[from + i] as PublishOutcome & { ok: true }), duplicate: true }
      for (const { index, code, message } of errors) outcomes[from + index] = { ok: false, error: new BusError(code, message) }
    } catch (error) {
      if (batch.length === to - from && (error as BusError).code === 'closed') throw error
      outcomes.fill({ ok: false, error: error as BusError }, from, to)
    }
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<EngineSubscription> {
    const id = this.#nextId++
    const link = this.#link
    const subscription = new EmbeddedSubscription(id, link, sink, spec.sources, () => {
      if (this.#subscriptions.delete(id)) link.release()
    })
    this.#subscriptions.set(id, subscription)
    link.hold()
    try {
      await link.call('subscribe', id, spec)
    } catch (error) {
      if (this.#subscriptions.delete(id)) link.release()
      throw error
    }
    return subscription
  }

  async read(storage: StorageName, after: ReadFrom, limit: number): Promise<Page> {
    const { columns, next } = await this.#link.call('read', storage, after, limit)
    return { messages: Array.from({ length: columns.count }, (_, i) => new EmbeddedStored(columns, i, storage)), next }
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#bell?.close()
    this.#requests.close()
    await this.#link.call('close').catch(() => {})
    await this.#link.end()
  }
}
