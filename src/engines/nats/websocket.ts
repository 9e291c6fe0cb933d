import WebSocket from 'ws'
import type { NatsOptions } from './options.ts'
import { certificates } from './secure.ts'

/** A WebSocket that knows private authorities and certificates of the client, which Node's own does not. */
export async function openWebSocket(
  url: string,
  { tls = {}, connectTimeoutMs = 5000 }: NatsOptions,
): Promise<{ socket: globalThis.WebSocket; encrypted: boolean }> {
  const socket = new WebSocket(url, { ...certificates(tls), handshakeTimeout: connectTimeoutMs, perMessageDeflate: false })
  // The client library takes its own listener away before it closes: an error after that would end the process.
  socket.on('error', () => {})
  return { socket: socket as unknown as globalThis.WebSocket, encrypted: url.startsWith('wss:') }
}
