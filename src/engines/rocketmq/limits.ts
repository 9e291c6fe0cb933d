import { BusError } from '../../errors.ts'
import type { Cluster } from './cluster.ts'
import { request } from './protocol.ts'

export interface Limits {
  readonly maxMessageBytes: number
  /** The longest delay, ms; 0 = the broker keeps none. */
  readonly maxDelayMs: number
  /** Delays end at whole multiples of it, ms. */
  readonly precisionMs: number
  /** Whether each message is on disk before it is confirmed. */
  readonly synced: boolean
}

const usual: Limits = { maxMessageBytes: 4 * 1024 * 1024, maxDelayMs: 3 * 86_400_000, precisionMs: 1000, synced: false }

/** The least of all brokers, by their own settings; a user that may not ask is told the usual ones. */
export async function limitsOf(cluster: Cluster): Promise<Limits> {
  const all = await Promise.all(
    (await cluster.masters()).map((broker) =>
      cluster.ask(broker, request.brokerConfig, {}, 'the broker').catch((error) => orUsual(error, cluster)),
    ),
  )
  return all
    .map((frame) => (frame === undefined ? usual : read(frame.body.toString())))
    .reduce((a, b) => ({
      maxMessageBytes: Math.min(a.maxMessageBytes, b.maxMessageBytes),
      maxDelayMs: Math.min(a.maxDelayMs, b.maxDelayMs),
      precisionMs: Math.max(a.precisionMs, b.precisionMs),
      synced: a.synced && b.synced,
    }))
}

function orUsual(error: BusError, { options }: Cluster): undefined {
  if (error.code !== 'forbidden') throw error
  if (options.accessKey !== undefined) return undefined
  throw new BusError('unauthorized', `the brokers want keys: rocketmq: { accessKey, secretKey } (${error.message})`, { cause: error })
}

function read(text: string): Limits {
  const settings = new Map(text.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1).trim()]))
  const number = (name: string, otherwise: number): number => {
    const value = Number(settings.get(name) ?? otherwise)
    return Number.isFinite(value) && value > 0 ? value : otherwise
  }
  const precisionMs = number('timerPrecisionMs', usual.precisionMs)
  // What is asked for is rounded up, and must not be past the longest then.
  const longestMs = number('timerMaxDelaySec', usual.maxDelayMs / 1000) * 1000 - 3 * precisionMs
  return {
    maxMessageBytes: number('maxMessageSize', usual.maxMessageBytes),
    maxDelayMs: settings.get('timerWheelEnable') === 'false' ? 0 : Math.max(0, longestMs),
    precisionMs,
    synced: settings.get('flushDiskType') === 'SYNC_FLUSH',
  }
}
