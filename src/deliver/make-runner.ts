import { BusError } from '../errors.ts'
import { type Duration, toMs } from '../message/duration.ts'
import type { BatchHandler, Handler } from './handler.ts'
import { BatchRunner, type Runner, SingleRunner } from './runner.ts'

export interface BatchOptions {
  /** The most messages in one call. */
  readonly size: number
  /** How long to wait for a full batch. Default `'10ms'`. */
  readonly wait?: Duration
}

/** @throws BusError `invalid_argument` */
export function makeRunner(handler: Handler | BatchHandler, batch: BatchOptions | undefined, timeoutMs: number | undefined): Runner {
  if (!batch) return new SingleRunner(handler as Handler, timeoutMs)
  if (!Number.isInteger(batch.size) || batch.size < 1 || batch.size > 10_000)
    throw new BusError('invalid_argument', `batch.size must be a whole number from 1 to 10000, not ${batch.size}`)
  return new BatchRunner(handler as BatchHandler, timeoutMs, batch.size, toMs(batch.wait ?? '10ms', 'batch.wait'))
}
