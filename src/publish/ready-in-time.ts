import { BusError } from '../errors.ts'
import { longestTimerMs } from '../message/duration.ts'
import type { Parcel } from './outbox.ts'

/**
 * What the promise gives, unless the publish is aborted or its time is over before: then a message that is not ready never is.
 * @throws BusError `aborted`, `publish_rejected`
 */
export async function inTime<T>(ready: Promise<T>, { signal, deadline }: Pick<Parcel, 'signal' | 'deadline'>, topic: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  let abort = (): void => {}
  const over = new Promise<never>((_, reject) => {
    abort = () =>
      reject(new BusError('aborted', 'the publish was aborted before it was sent; nothing was stored', { cause: signal?.reason }))
    timer = setTimeout(
      () =>
        reject(
          new BusError(
            'publish_rejected',
            `topic '${topic}': the message, or one before it, was not ready when its timeout was over (an asynchronous schema, or a body that is stored aside); nothing was stored`,
          ),
        ),
      Math.min(longestTimerMs, Math.max(0, deadline - Date.now())),
    )
  })
  if (signal?.aborted) abort()
  signal?.addEventListener('abort', abort)
  try {
    return await Promise.race([ready, over])
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}
