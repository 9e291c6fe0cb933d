import type { Msg, Subscription } from '@nats-io/transport-node'
import type { Api } from './api.ts'
import type { Connection } from './connection.ts'
import { type Streams, storagesOf } from './streams.ts'

const events = ['CREATED', 'UPDATED', 'DELETED'].map((what) => `$JS.EVENT.ADVISORY.STREAM.${what}.*`)
/** What the server tells may be missed; where this user may not hear it, it is looked for. */
const heardEveryMs = 30_000
const deafEveryMs = 2000
/** Between two looks at all that streams say of themselves, for a user who is not told of changes. */
const wholeEveryMs = 30_000

/**
 * Topics as they appear: the server tells of streams that are made, changed and deleted, and only those are read. All
 * members of a service together would keep it busy if each asked for the whole list again and again.
 */
export class TopicWatch {
  readonly #connection: Connection
  readonly #api: Api
  readonly #streams: Streams
  readonly #watchers = new Set<(storage: string) => void>()
  /** The storages of each stream. */
  readonly #known = new Map<string, readonly string[]>()
  #hearing: Subscription[] = []
  #stopListening = (): void => {}
  #timer: NodeJS.Timeout | undefined
  #deaf = false
  #wholeAt = 0

  constructor(connection: Connection, api: Api, streams: Streams) {
    this.#connection = connection
    this.#api = api
    this.#streams = streams
  }

  add(watcher: (storage: string) => void): () => void {
    this.#watchers.add(watcher)
    const known = [...this.#known.values()].flat()
    queueMicrotask(() => {
      for (const storage of known) if (this.#watchers.has(watcher)) watcher(storage)
    })
    if (this.#watchers.size === 1) this.#begin()
    return () => {
      if (this.#watchers.delete(watcher) && this.#watchers.size === 0) this.close()
    }
  }

  #begin(): void {
    this.#hearing = events.map((subject) => this.#connection.nc.subscribe(subject, { callback: this.#hear }))
    this.#stopListening = this.#connection.listen({ back: () => void this.#lookAtAll().catch(() => {}) })
    this.#again(this.#lookAtAll())
  }

  /** Once more in a while, however this look ends. */
  #again(look: Promise<void>): void {
    void look
      .catch(() => {})
      .then(() => {
        if (this.#watchers.size === 0) return
        clearTimeout(this.#timer)
        this.#timer = setTimeout(() => this.#again(this.#look()), this.#deaf ? deafEveryMs : heardEveryMs)
        this.#timer.unref()
      })
  }

  // It must not throw: the client would stop reading.
  #hear = (failure: Error | null, msg: Msg): void => {
    if (failure) {
      this.#deaf = true
      this.#again(Promise.resolve())
      return
    }
    const [, , , , what, stream = ''] = msg.subject.split('.')
    if (what === 'DELETED') this.#known.delete(stream)
    else void this.#read(stream).catch(() => {}) // the next look finds it
  }

  #look(): Promise<void> {
    return this.#deaf && performance.now() - this.#wholeAt > wholeEveryMs ? this.#lookAtAll() : this.#lookAtNames()
  }

  async #lookAtAll(): Promise<void> {
    const all = await this.#api.streams.list()
    this.#wholeAt = performance.now()
    const names = new Set(all.map(({ config }) => config.name))
    for (const name of this.#known.keys()) if (!names.has(name)) this.#known.delete(name)
    for (const { config } of all) this.#learn(config.name, storagesOf(config))
  }

  async #lookAtNames(): Promise<void> {
    const names = new Set(await this.#api.streams.names())
    for (const name of this.#known.keys()) if (!names.has(name)) this.#known.delete(name)
    for (const name of names) if (!this.#known.has(name)) await this.#read(name)
  }

  async #read(name: string): Promise<void> {
    const info = await this.#streams.info(name)
    if (info) this.#learn(name, storagesOf(info.config))
  }

  #learn(name: string, storages: readonly string[]): void {
    const known = this.#known.get(name)
    this.#known.set(name, storages)
    for (const storage of storages) if (!known?.includes(storage)) for (const watcher of this.#watchers) watcher(storage)
  }

  close(): void {
    this.#watchers.clear()
    clearTimeout(this.#timer)
    for (const subscription of this.#hearing.splice(0)) subscription.unsubscribe()
    this.#stopListening()
    this.#known.clear()
  }
}
