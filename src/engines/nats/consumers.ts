import { AckPolicy, type ConsumerConfig, type ConsumerInfo, DeliverPolicy } from '@nats-io/jetstream'
import { nanos } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import type { Source } from '../engine.ts'
import type { Api } from './api.ts'
import { apiCode, isApi, natsError } from './failure.ts'
import { groupMark, replayStream, storageMark } from './names.ts'
import type { NatsOptions } from './options.ts'

/** A durable consumer as it is asked for. */
export interface Durable {
  readonly stream: string
  readonly name: string
  readonly group: string
  readonly storage: string
  readonly filters: readonly string[]
  readonly from: Source['from']
  readonly ackWaitMs: number
}

export interface StreamState {
  /** When it was made: one of the same name made later is another, with sequences of its own. */
  readonly born: string
  readonly last: number
}

/** Delayed redeliveries count as pending, so a low ceiling would let them stop a whole group (nats-server#6093). */
const maxAckPending = 100_000

/** Makes and finds durables. */
export class Consumers {
  readonly #api: Api
  readonly #options: NatsOptions

  constructor(api: Api, options: NatsOptions) {
    this.#api = api
    this.#options = options
  }

  async find(stream: string, name: string): Promise<ConsumerInfo | undefined> {
    try {
      return await this.#api.consumers.info(stream, name)
    } catch (error) {
      if (isApi(error, apiCode.consumerNotFound) || isApi(error, apiCode.streamNotFound)) return undefined
      throw natsError(error, `consumer '${name}' of stream '${stream}'`)
    }
  }

  /** The durable where it is there, and reads what it is asked for. @throws BusError `filter_conflict`, `conflict` */
  async found(durable: Durable): Promise<ConsumerInfo | undefined> {
    const info = await this.find(durable.stream, durable.name)
    return info && this.#checked(info, durable)
  }

  /** The durable, made where it is missing. @throws BusError `filter_conflict`, `not_found` where nothing may be made */
  async ensure(durable: Durable): Promise<ConsumerInfo> {
    const found = await this.found(durable)
    if (found) return found
    const { provision = 'create' } = this.#options
    if (provision === 'verify' || provision === 'off')
      throw new BusError(
        'not_found',
        `stream '${durable.stream}' has no consumer '${durable.name}', and provision: '${provision}' makes none`,
      )
    return this.#make(durable, startOf(durable.from))
  }

  /** Again, after the server lost it or it was deleted: from the sequence on; as `before` was configured. */
  again(durable: Durable, sequence: number, before?: ConsumerConfig): Promise<ConsumerInfo> {
    // What was acknowledged there is deleted: all that is left is what is not done.
    const start: Partial<ConsumerConfig> = isWorkQueue(durable.stream)
      ? { deliver_policy: DeliverPolicy.All }
      : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: sequence }
    if (!before) return this.#make(durable, start)
    const { deliver_policy: _, opt_start_seq: __, opt_start_time: ___, ...kept } = before
    return this.#make(durable, { ...kept, ...start })
  }

  /**
   * All that is not acknowledged comes again, in order, before anything new. By another consumer of the same name, on
   * every version: what was asked of the one before, by a member that may only seem dead, ends with it. A reset (2.14)
   * would go on to fill its requests.
   */
  async rewind(durable: Durable, info: ConsumerInfo, floor = info.ack_floor.stream_seq): Promise<ConsumerInfo> {
    const { stream, name } = durable
    await this.delete(stream, name)
    return this.again(durable, floor + 1, info.config)
  }

  async stream(name: string): Promise<StreamState> {
    try {
      const { created, state } = await this.#api.streams.info(name)
      return { born: String(created), last: state.last_seq }
    } catch (error) {
      throw natsError(error, `stream '${name}'`)
    }
  }

  async delete(stream: string, name: string): Promise<boolean> {
    try {
      return await this.#api.consumers.delete(stream, name)
    } catch (error) {
      if (isApi(error, apiCode.consumerNotFound)) return false
      throw natsError(error, `consumer '${name}' of stream '${stream}'`)
    }
  }

  async #make(durable: Durable, start: Partial<ConsumerConfig>): Promise<ConsumerInfo> {
    const { filters } = durable
    try {
      const config = {
        durable_name: durable.name,
        ack_policy: AckPolicy.Explicit,
        ack_wait: nanos(durable.ackWaitMs),
        max_deliver: -1,
        max_ack_pending: maxAckPending,
        ...(filters.length === 1 ? { filter_subject: filters[0]! } : { filter_subjects: [...filters] }),
        metadata: { [groupMark]: durable.group, [storageMark]: durable.storage },
        ...start,
      }
      return await this.#api.consumers.add(durable.stream, config)
    } catch (error) {
      if (isApi(error, apiCode.consumerExists) || isApi(error, apiCode.consumerNameInUse)) {
        const found = await this.find(durable.stream, durable.name)
        if (found) return this.#checked(found, durable)
      }
      throw natsError(error, `consumer '${durable.name}' of stream '${durable.stream}'`)
    }
  }

  async #checked(info: ConsumerInfo, durable: Durable): Promise<ConsumerInfo> {
    const has = filtersOf(info.config)
    // A stream of one subject needs no filter.
    if (has.length > 0 && has.join() !== [...durable.filters].sort().join())
      throw new BusError(
        'filter_conflict',
        `group '${durable.group}' of topic '${durable.storage}' reads '${has.join("', '")}', this member came for '${durable.filters.join("', '")}'; a group has one filter and one order: use another group's name, the same ones, or delete the group first`,
      )
    if (info.config.ack_policy !== AckPolicy.Explicit || info.config.deliver_subject !== undefined)
      throw new BusError(
        'conflict',
        `consumer '${durable.name}' of stream '${durable.stream}' is no pull consumer with explicit acknowledgements; use another group's name`,
      )
    const applies = this.#options.provision === 'apply'
    const { max_deliver: most = -1, ack_wait: wait } = info.config
    // Attempts are counted by the core; what the server gives up on before comes to nobody, and is no dead letter.
    if (most > 0 && !applies)
      throw new BusError(
        'conflict',
        `consumer '${durable.name}' of stream '${durable.stream}' has max_deliver ${most}: the server would give up on a message after so many deliveries, restarts included, and tell nobody; run \`nats consumer edit ${durable.stream} ${durable.name} --max-deliver=-1 --force\`, or connect with provision: 'apply'`,
      )
    // A member with another lease than the one that made the group asks the server more often, or is missed later: what
    // others have in hand keeps its time.
    if (applies && (most > 0 || wait !== nanos(durable.ackWaitMs)))
      return this.#update(durable, { max_deliver: -1, ack_wait: nanos(durable.ackWaitMs) })
    return info
  }

  async #update({ stream, name }: Durable, changes: Partial<ConsumerConfig>): Promise<ConsumerInfo> {
    try {
      return await this.#api.consumers.update(stream, name, changes)
    } catch (error) {
      throw natsError(error, `consumer '${name}' of stream '${stream}'`)
    }
  }
}

function isWorkQueue(stream: string): boolean {
  return stream === replayStream
}

/** By cozebus, not by Go or by hand. */
export function madeHere({ metadata }: ConsumerConfig): boolean {
  return metadata?.[groupMark] !== undefined
}

export function filtersOf(config: ConsumerConfig): string[] {
  const many = config.filter_subjects ?? []
  return (many.length > 0 ? [...many] : config.filter_subject ? [config.filter_subject] : []).sort()
}

function startOf(from: Source['from']): Partial<ConsumerConfig> {
  if (from === 'earliest') return { deliver_policy: DeliverPolicy.All }
  if (from === 'new') return { deliver_policy: DeliverPolicy.New }
  return { deliver_policy: DeliverPolicy.StartTime, opt_start_time: new Date(from.timeMs).toISOString() }
}
