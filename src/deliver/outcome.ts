import { type Duration, toMs } from '../message/duration.ts'

/** Thrown by a handler: try again after this time instead of the policy's. Counts as an attempt. */
export class Retry extends Error {
  override readonly name = 'Retry'
  readonly afterMs: number | undefined

  constructor(options: { after?: Duration; reason?: string; cause?: unknown } = {}) {
    super(options.reason ?? 'the handler asked for a retry', { cause: options.cause })
    this.afterMs = options.after === undefined ? undefined : toMs(options.after, 'Retry after')
  }
}

/** Thrown by a handler: never try again; the message becomes a dead letter now. */
export class Reject extends Error {
  override readonly name = 'Reject'

  constructor(reason: string, options?: { cause?: unknown }) {
    super(reason, options)
  }
}

/** What was thrown, as text for a dead letter or a log; never throws itself. */
export function errorText(thrown: unknown): string {
  try {
    if (thrown instanceof Error)
      return thrown.message === '' ? thrown.name : `${thrown.name === 'Error' ? '' : `${thrown.name}: `}${thrown.message}`
    return `a non-error was thrown: ${typeof thrown === 'string' ? thrown : (JSON.stringify(thrown) ?? String(thrown))}`
  } catch {
    return 'a non-error was thrown that cannot be shown'
  }
}
