import type { JetStreamClient } from '@nats-io/jetstream'
import { type KV, Kvm } from '@nats-io/kv'
import { untilAnswered } from './asking.ts'
import { natsError } from './failure.ts'
import type { NatsOptions } from './options.ts'

/** The bus's own buckets, made when first used. */
export class Buckets {
  readonly #kvm: Kvm
  readonly #options: NatsOptions
  readonly #open = new Map<string, Promise<KV>>()

  constructor(js: JetStreamClient, options: NatsOptions) {
    this.#kvm = new Kvm(js)
    this.#options = options
  }

  get(name: string): Promise<KV> {
    let bucket = this.#open.get(name)
    if (!bucket) {
      bucket = this.#make(name).catch((error) => {
        this.#open.delete(name)
        throw natsError(error, `bucket '${name}'`)
      })
      this.#open.set(name, bucket)
    }
    return bucket
  }

  async #make(name: string): Promise<KV> {
    const kv = await untilAnswered(() => this.#kvm.create(name, { history: 1, replicas: this.#options.replicas ?? 1 }))
    // What was made a moment ago may have nobody yet who answers for it.
    await untilAnswered(() => kv.get('-'))
    return kv
  }

  get manager(): Kvm {
    return this.#kvm
  }
}
