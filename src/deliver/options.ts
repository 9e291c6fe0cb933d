import { BusError } from '../errors.ts'
import { type Duration, longestTimerMs, toMs } from '../message/duration.ts'
import type { Backoff } from './backoff.ts'
import type { BreakerPolicy } from './breaker.ts'

export interface RetryOptions {
  /** Failures of the handler before the message becomes a dead letter. Default 8. */
  readonly attempts?: number
  /** The first step of the backoff. Default `'2s'`. */
  readonly initial?: Duration
  /** What each step is multiplied by. Default 3. */
  readonly factor?: number
  /** The longest step. Default `'10m'`. */
  readonly max?: Duration
  /** `'full'` draws each delay evenly between 0 and the step. Default `'full'`. */
  readonly jitter?: 'full' | 'none'
  /** Times the process may die while handling the message before it becomes a dead letter. Default 5. */
  readonly crashes?: number
}

export interface BreakerOptions {
  /** Different messages that must fail in a row before the group slows down. Default 20. */
  readonly failures?: number
  /** The first pause. Default `'1s'`. */
  readonly initial?: Duration
  /** The longest pause. Default `'1m'`. */
  readonly max?: Duration
}

export interface SubscribeOptions {
  /** Messages handled at once in this process. Default 8. */
  readonly concurrency?: number
  /** Default `'key'` where the definition declares a key, else `'none'`. */
  readonly order?: 'key' | 'topic' | 'none'
  /** Where order is kept: over all members of the group, or in each process. Default `'group'`. */
  readonly orderScope?: 'group' | 'process'
  readonly retry?: RetryOptions
  /** On by default; false switches it off. */
  readonly breaker?: BreakerOptions | boolean
  /**
   * A handler that takes longer is aborted and has failed. Off by default. One that does not listen to its signal is waited
   * for as long again; goes it on even then, the next run of the message, or of its key, is beside it.
   */
  readonly timeout?: Duration | false
  /** Whether messages given up on are kept. Default true; false drops them. */
  readonly deadLetter?: boolean
  /** How long the engine waits for a sign of life before it gives a message to another member; extended by itself. Default `'30s'`. */
  readonly lease?: Duration
  /** Where a group that does not exist yet begins. Default `'earliest'`. */
  readonly from?: 'earliest' | 'new' | Date
  readonly lanes?: {
    /** Messages that may wait behind others of their key before no more are fetched. Default 1000. */
    readonly parked?: number
    /** Bytes of bodies held in this process. Default 64 MiB. */
    readonly bytes?: number
  }
}

export interface Policy {
  readonly concurrency: number
  readonly order: 'key' | 'topic' | 'none'
  readonly orderScope: 'group' | 'process'
  readonly attempts: number
  readonly crashes: number
  readonly backoff: Backoff
  readonly breaker: BreakerPolicy | undefined
  readonly timeoutMs: number | undefined
  readonly deadLetter: boolean
  readonly leaseMs: number
  readonly from: 'earliest' | 'new' | { readonly timeMs: number }
  readonly parked: number
  readonly bytes: number
}

function whole(value: number, name: string, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most)
    throw new BusError('invalid_argument', `${name} must be a whole number from ${least} to ${most}, not ${value}`)
  return value
}

function oneOf<T extends string>(value: T, name: string, ...words: readonly T[]): T {
  if (!words.includes(value))
    throw new BusError('invalid_argument', `${name} must be one of ${words.map((word) => `'${word}'`).join(', ')}, not '${value}'`)
  return value
}

/** Fills in defaults. @throws BusError `invalid_argument` */
export function resolvePolicy(given: SubscribeOptions, defaults: SubscribeOptions, keyed: boolean): Policy {
  const options = { ...defaults, ...given }
  const retry = { ...defaults.retry, ...given.retry }
  const breaker = options.breaker ?? true
  const steps = breaker === true || breaker === false ? {} : breaker
  const from = options.from ?? 'earliest'
  if (!(from instanceof Date)) oneOf(from, 'from', 'earliest', 'new')
  else if (Number.isNaN(from.getTime())) throw new BusError('invalid_argument', 'from is no valid date')
  const factor = retry.factor ?? 3
  if (!(Number.isFinite(factor) && factor >= 1))
    throw new BusError('invalid_argument', `retry.factor must be a number from 1, not ${factor}`)
  const timeoutMs = options.timeout === undefined || options.timeout === false ? undefined : toMs(options.timeout, 'timeout')
  if (timeoutMs !== undefined && (timeoutMs < 1 || timeoutMs > longestTimerMs))
    throw new BusError('invalid_argument', `timeout must be 1 ms to ${longestTimerMs} ms (24 days), or false for none, not ${timeoutMs} ms`)
  return {
    concurrency: whole(options.concurrency ?? 8, 'concurrency', 1, 10_000),
    order: oneOf(options.order ?? (keyed ? 'key' : 'none'), 'order', 'key', 'topic', 'none'),
    orderScope: oneOf(options.orderScope ?? 'group', 'orderScope', 'group', 'process'),
    attempts: whole(retry.attempts ?? 8, 'retry.attempts', 1, 1_000_000),
    crashes: whole(retry.crashes ?? 5, 'retry.crashes', 1, 1_000_000),
    backoff: {
      initialMs: toMs(retry.initial ?? '2s', 'retry.initial'),
      factor,
      maxMs: toMs(retry.max ?? '10m', 'retry.max'),
      jitter: oneOf(retry.jitter ?? 'full', 'retry.jitter', 'full', 'none'),
    },
    breaker:
      breaker === false
        ? undefined
        : {
            failures: whole(steps.failures ?? 20, 'breaker.failures', 2, 1_000_000),
            backoff: {
              initialMs: toMs(steps.initial ?? '1s', 'breaker.initial'),
              factor: 2,
              maxMs: toMs(steps.max ?? '1m', 'breaker.max'),
              jitter: 'none',
            },
          },
    timeoutMs,
    deadLetter: options.deadLetter ?? true,
    leaseMs: whole(toMs(options.lease ?? '30s', 'lease'), 'lease (ms)', 100, 86_400_000),
    from: from instanceof Date ? { timeMs: from.getTime() } : from,
    parked: whole(options.lanes?.parked ?? 1000, 'lanes.parked', 1, 1_000_000),
    bytes: whole(options.lanes?.bytes ?? 64 * 1024 * 1024, 'lanes.bytes', 1, 2 ** 40),
  }
}
