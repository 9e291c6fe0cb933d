/** Lies in memory that exists, unlike an empty array that came from another thread: Node 22 would bind that one as NULL. */
const empty = new Uint8Array(1).subarray(0, 0)

/** Bytes as a statement takes them. */
export function blob(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === 0 ? empty : bytes
}
