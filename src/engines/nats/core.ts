import { BusError } from '../../errors.ts'
import type { Capabilities, Engine, EngineAdmin, EngineHealth, EngineSubscription, Outgoing, Page, PublishOutcome } from '../engine.ts'
import { type Connection, maxBytes } from './connection.ts'
import { NatsLive } from './live.ts'
import { NatsRequests } from './requests.ts'

function nothingIsStored(what: string): BusError {
  return new BusError(
    'unsupported',
    `core NATS stores nothing, so ${what}; connect to a server with JetStream and without jetstream: false`,
  )
}

/** NATS without JetStream: publish to whoever listens, queue groups, requests. */
export class CoreEngine implements Engine {
  readonly name = 'nats-core'
  readonly capabilities: Capabilities
  readonly live: NatsLive
  readonly requests: NatsRequests
  readonly admin: EngineAdmin = new NoAdmin()
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
    this.live = new NatsLive(connection)
    this.requests = new NatsRequests(connection)
    this.capabilities = {
      durability: 'none',
      ordering: 'none',
      orderedPipelining: true,
      dedupeWindowMs: 0,
      delayMaxMs: 0,
      lease: { maxMs: 0 },
      settle: 'message',
      redelivered: true,
      filter: 'broker',
      history: false,
      purgeBefore: false,
      headers: true,
      maxMessageBytes: maxBytes(connection),
      ledger: 'none',
    }
  }

  publish(batch: readonly Outgoing[]): Promise<PublishOutcome[]> {
    return this.live.publish(batch)
  }

  async subscribe(): Promise<EngineSubscription> {
    throw nothingIsStored('there is no group that resumes where it stood')
  }

  async read(): Promise<Page> {
    throw nothingIsStored('there is nothing to browse')
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    return this.#connection.onHealth(listener)
  }

  close(): Promise<void> {
    return this.#connection.close()
  }
}

/** Topics are names and nothing else. */
class NoAdmin implements EngineAdmin {
  async declare(): Promise<void> {}

  async topics(): Promise<[]> {
    return []
  }

  watchTopics(): () => void {
    return () => {}
  }

  async groups(): Promise<never> {
    throw nothingIsStored('groups have no place and no lag')
  }

  async reset(): Promise<never> {
    throw nothingIsStored('no group can be moved')
  }

  async deleteGroup(): Promise<never> {
    throw nothingIsStored('there is no group to delete')
  }

  async purge(): Promise<never> {
    throw nothingIsStored('there is nothing to purge')
  }

  async deleteTopic(): Promise<never> {
    throw nothingIsStored('there is no topic to delete')
  }
}
