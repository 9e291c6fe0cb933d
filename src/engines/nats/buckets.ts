import type { JetStreamClient } from '@nats-io/jetstream'
import { type KV, Kvm, type KvOptions } from '@nats-io/kv'
import type { Api } from './api.ts'
import { untilAnswered } from './asking.ts'
import { natsError } from './failure.ts'
import type { NatsOptions } from './options.ts'

/** The bus's own buckets, made when first used. */
export class Buckets {
  readonly #api: Api
  readonly #kvm: Kvm
  readonly #options: NatsOptions
  readonly #open = new Map<string, Promise<KV>>()

  constructor(js: JetStreamClient, api: Api, options: NatsOptions) {
    this.#api = api
    this.#kvm = new Kvm(js)
    this.#options = options
  }

  get(name: string): Promise<KV> {
    let bucket = this.#open.get(name)
    if (!bucket) {
      bucket = this.open(name, { history: 1 }).catch((error) => {
        this.#open.delete(name)
        throw natsError(error, `bucket '${name}'`)
      })
      this.#open.set(name, bucket)
    }
    return bucket
  }

  async open(name: string, options: Partial<KvOptions>): Promise<KV> {
    const kv = await untilAnswered(() => this.#kvm.create(name, { ...options, replicas: this.#options.replicas ?? 1 }))
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
