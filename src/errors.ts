/** Every code a {@link BusError} can carry. The table {@link errorTable} says what each one means to a caller. */
export type BusErrorCode =
  | 'invalid_argument'
  | 'invalid_topic'
  | 'invalid_message'
  | 'message_too_large'
  | 'publish_rejected'
  | 'publish_unknown'
  | 'engine_unavailable'
  | 'engine_missing'
  | 'unsupported'
  | 'filter_conflict'
  | 'not_found'
  | 'conflict'
  | 'timeout'
  | 'no_responders'
  | 'aborted'
  | 'closed'
  | 'unauthorized'
  | 'forbidden'
  | 'store_full'
  | 'store_readonly'
  | 'store_corrupt'
  | 'store_newer'
  | 'internal'

interface ErrorRow {
  /** Whether the same call may succeed later, unchanged. */
  readonly retryable: boolean
  readonly status: number
  readonly exit: number
}

/** What a code means to each kind of caller: whether to try again, the HTTP status, the exit code of the CLI. */
export const errorTable: Readonly<Record<BusErrorCode, ErrorRow>> = {
  invalid_argument: { retryable: false, status: 400, exit: 2 },
  invalid_topic: { retryable: false, status: 400, exit: 2 },
  invalid_message: { retryable: false, status: 422, exit: 2 },
  message_too_large: { retryable: false, status: 413, exit: 2 },
  publish_rejected: { retryable: true, status: 503, exit: 4 },
  publish_unknown: { retryable: true, status: 504, exit: 4 },
  engine_unavailable: { retryable: true, status: 503, exit: 3 },
  engine_missing: { retryable: false, status: 501, exit: 3 },
  unsupported: { retryable: false, status: 501, exit: 5 },
  filter_conflict: { retryable: false, status: 409, exit: 5 },
  not_found: { retryable: false, status: 404, exit: 6 },
  conflict: { retryable: false, status: 409, exit: 5 },
  timeout: { retryable: true, status: 504, exit: 4 },
  no_responders: { retryable: true, status: 503, exit: 4 },
  aborted: { retryable: true, status: 499, exit: 130 },
  closed: { retryable: false, status: 503, exit: 3 },
  unauthorized: { retryable: false, status: 401, exit: 7 },
  forbidden: { retryable: false, status: 403, exit: 7 },
  store_full: { retryable: true, status: 507, exit: 3 },
  store_readonly: { retryable: false, status: 500, exit: 3 },
  store_corrupt: { retryable: false, status: 500, exit: 3 },
  store_newer: { retryable: false, status: 500, exit: 3 },
  internal: { retryable: false, status: 500, exit: 1 },
}

/** The one error class of the bus: `code` is for programs, `message` says what went wrong and what to do. */
export class BusError extends Error {
  override readonly name = 'BusError'
  readonly code: BusErrorCode

  constructor(code: BusErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }

  /** Whether the same call may succeed later. */
  get retryable(): boolean {
    return errorTable[this.code].retryable
  }
}

/** What was thrown, as a {@link BusError}; anything foreign becomes `code`. */
export function toBusError(thrown: unknown, code: BusErrorCode = 'internal'): BusError {
  if (thrown instanceof BusError) return thrown
  return new BusError(code, thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown })
}
