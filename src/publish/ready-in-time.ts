import { BusError } from '../errors.ts'
import { inTime } from '../within.ts'
import type { Parcel } from './outbox.ts'

/**
 * What the promise gives, unless the publish is aborted or its time is over before: then a message that is not ready never is.
 * @throws BusError `aborted`, `publish_rejected`
 */
export async function readyInTime<T>(
  ready: Promise<T>,
  { signal, deadline }: Pick<Parcel, 'signal' | 'deadline'>,
  topic: string,
): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const abort = (): void =>
    reject(new BusError('aborted', 'the publish was aborted before it was sent; nothing was stored', { cause: signal?.reason }))
  const late = (): BusError =>
    new BusError(
      'publish_rejected',
      `topic '${topic}': the message, or one before it, was not ready when its timeout was over (an asynchronous schema, or a body that is stored aside); nothing was stored`,
    )
  if (signal?.aborted) abort()
  signal?.addEventListener('abort', abort)
  try {
    return await inTime(Math.max(0, deadline - Date.now()), Promise.race([ready, aborted]), late)
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}
