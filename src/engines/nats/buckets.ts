import type { JetStreamClient, Placement } from '@nats-io/jetstream'
import { type KV, Kvm, type KvOptions } from '@nats-io/kv'
import { type ObjectStore, Objm } from '@nats-io/obj'
import type { Api } from './api.ts'
import { untilAnswered } from './asking.ts'
import { natsError } from './failure.ts'
import type { NatsOptions } from './options.ts'
import { seeToCopies } from './own.ts'
import { placementOf, placing } from './placement.ts'

/** The bus's own buckets, made when first used. */
export class Buckets {
  readonly #api: Api
  readonly #kvm: Kvm
  readonly #objm: Objm
  readonly #options: NatsOptions
  readonly #open = new Map<string, Promise<KV>>()

  constructor(js: JetStreamClient, api: Api, options: NatsOptions) {
    this.#api = api
    this.#kvm = new Kvm(js)
    this.#objm = new Objm(js)
    this.#options = options
  }

  get(name: string): Promise<KV> {
    let bucket = this.#open.get(name)
    if (!bucket) {
      bucket = this.#own(name).catch((error) => {
        this.#open.delete(name)
        throw natsError(error, `bucket '${name}'`)
      })
      this.#open.set(name, bucket)
    }
    return bucket
  }

  async #own(name: string): Promise<KV> {
    // Read from the leader: a copy that is catching up would not know what failed before, where a group stood, who owns what.
    const kv = await this.open(name, { history: 1, allow_direct: false })
    await this.#seeTo(`KV_${name}`)
    return kv
  }

  /** For what may be larger than a message. */
  async objects(name: string): Promise<ObjectStore> {
    try {
      const store = await this.#make((made) => this.#objm.create(name, made))
      await this.#seeTo(`OBJ_${name}`)
      return store
    } catch (error) {
      throw natsError(error, `bucket '${name}'`)
    }
  }

  async #seeTo(stream: string): Promise<void> {
    if (this.#options.replicas === undefined) return
    const { config } = await this.#api.streams.info(stream)
    await seeToCopies(this.#api, this.#options, { stream, copies: config.num_replicas })
  }

  #make<T>(make: (made: { replicas: number; placement?: Placement }) => Promise<T>): Promise<T> {
    const { replicas = 1, placement } = this.#options
    return untilAnswered(placing(replicas, () => make({ replicas, ...(placement ? { placement: placementOf(placement) } : {}) })))
  }

  async open(name: string, options: Partial<KvOptions>): Promise<KV> {
    const kv = await this.#make((made) => this.#kvm.create(name, { ...options, ...made }))
    // What was made a moment ago may have nobody yet who answers for it.
    await untilAnswered(() => kv.get('-'))
    return kv
  }

  /** Keys that match, those with only a mark of their end included. Not by the client's own way: each of its lists leaves a consumer for minutes. */
  async keys(name: string, pattern: string): Promise<string[]> {
    const start = `$KV.${name}.`
    const { state } = await this.#api.streams.info(`KV_${name}`, { subjects_filter: `${start}${pattern}` })
    return Object.keys(state.subjects ?? {}).map((subject) => subject.slice(start.length))
  }
}
