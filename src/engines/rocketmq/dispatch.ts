import { BusError } from '../../errors.ts'
import type { Broker, Cluster } from './cluster.ts'
import { answer, request } from './protocol.ts'

const lookMs = 2
const againMs = 50
const mostMs = 5000

interface Looking {
  readonly running: Promise<void>
  next: Promise<void> | undefined
}

/**
 * A broker confirms what is in its log, and puts it into the queues some milliseconds later: until then a queue's end lies
 * before it.
 */
export class Dispatch {
  readonly #cluster: Cluster
  readonly #looking = new Map<string, Looking>()

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /**
   * Resolves once all that was confirmed before the call is in its queue. One question for all who ask at once.
   * @throws BusError `engine_unavailable` when that takes too long
   */
  async caughtUp(broker: Broker): Promise<void> {
    const looking = this.#looking.get(broker.name)
    if (looking) {
      const begin = () => this.#begin(broker)
      looking.next ??= looking.running.then(begin, begin)
      return looking.next
    }
    return this.#begin(broker)
  }

  #begin(broker: Broker): Promise<void> {
    const looking: Looking = { running: this.#look(broker), next: undefined }
    this.#looking.set(broker.name, looking)
    const ended = (): void => {
      if (this.#looking.get(broker.name) === looking && looking.next === undefined) this.#looking.delete(broker.name)
    }
    void looking.running.then(ended, ended)
    return looking.running
  }

  async #look(broker: Broker): Promise<void> {
    let target: number | undefined
    for (const until = performance.now() + mostMs; performance.now() < until; ) {
      const frame = await this.#cluster.askAny(broker, request.runtime, {}, broker.name).catch(() => undefined)
      if (frame === undefined || frame.code === answer.busy) {
        await new Promise((resolve) => setTimeout(resolve, againMs))
        continue
      }
      // One that may not be asked is taken as it is.
      const text = frame.body.toString()
      const of = (name: string): number => Number(new RegExp(`"${name}":"?(\\d+)`).exec(text)?.[1] ?? Number.NaN)
      const [end, behind] = [of('commitLogMaxOffset'), of('dispatchBehindBytes')]
      if (Number.isNaN(end) || Number.isNaN(behind)) return
      target ??= end
      if (end - behind >= target) return
      await new Promise((resolve) => setTimeout(resolve, lookMs))
    }
    throw new BusError('engine_unavailable', `${broker.name} did not get its queues up to its log in ${mostMs} ms`)
  }
}
