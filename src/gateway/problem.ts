import { errorTable, toBusError } from '../errors.ts'

/** Any failure as problem details (RFC 9457); `code` is the bus's own. */
export function problem(thrown: unknown, more: { status?: number; headers?: Record<string, string> } = {}): Response {
  const error = toBusError(thrown)
  const { status, retryable } = errorTable[error.code]
  // 499 is known to proxies only; a response needs a standard one.
  const sent = more.status ?? (status === 499 ? 408 : status)
  return new Response(
    JSON.stringify({
      type: `urn:cozebus:${error.code}`,
      title: error.code.replaceAll('_', ' '),
      status: sent,
      detail: error.message,
      code: error.code,
      retryable,
    }),
    {
      status: sent,
      headers: { 'content-type': 'application/problem+json', ...more.headers },
    },
  )
}
