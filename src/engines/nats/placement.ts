import { JetStreamApiError } from '@nats-io/jetstream'
import { BusError } from '../../errors.ts'
import { apiCode } from './failure.ts'
import type { NatsOptions } from './options.ts'

/** Servers of a cluster that has just started are still meeting. */
const meetMs = 5000

/** As the server takes it. */
export function placementOf({ cluster = '', tags = [] }: NonNullable<NatsOptions['placement']>): { cluster: string; tags: string[] } {
  return { cluster, tags: [...tags] }
}

/**
 * Makes something for which the cluster may have too few servers: that does not pass by itself once all have met, as one
 * that is away still counts.
 * @throws BusError `invalid_argument`
 */
export function placing<T>(replicas: number, make: () => Promise<T>): () => Promise<T> {
  const until = performance.now() + meetMs
  return async () => {
    try {
      return await make()
    } catch (thrown) {
      if (performance.now() < until || !isTooFew(thrown)) throw thrown
      const { description } = thrown.apiError()
      // Not as a cause: whoever asks again looks for it there.
      throw new BusError(
        'invalid_argument',
        `replicas is ${replicas}, and the cluster has not as many servers that take it (${description}); ask for fewer, add servers, or change nats.placement`,
      )
    }
  }
}

function isTooFew(thrown: unknown): thrown is JetStreamApiError {
  return (
    thrown instanceof JetStreamApiError &&
    thrown.code === apiCode.noSuitablePeers &&
    !/offline|insufficient/.test(thrown.apiError().description)
  )
}
