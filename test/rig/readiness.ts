import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ServerProcess } from './server-process.ts'

/**
 * Resolves once `ask` has resolved; asks again while it rejects. By asking, as a server's log says that it has started before it answers.
 * Rejects when the process has ended or the time is over, with what the server wrote last: a taken port in it is what `retryTaken` looks for.
 */
export async function answering(
  name: string,
  process: ServerProcess,
  logs: () => string,
  ask: () => Promise<unknown>,
  withinMs = 60_000,
): Promise<void> {
  let cause: unknown
  for (const end = Date.now() + withinMs; ; await sleep(25)) {
    const reason = !process.runs ? 'the process ended' : Date.now() > end ? 'time ran out' : undefined
    if (reason) {
      const lines = logs().split('\n')
      const told = [...lines.filter((line) => /address already in use/i.test(line)).slice(-1), ...lines.slice(-12)]
      throw new Error(`${name}: ${reason} before it answered\n${told.join('\n')}`, { cause })
    }
    try {
      await ask()
      return
    } catch (error) {
      cause = error
    }
  }
}

/** Rejects where nobody takes connections at that port of 127.0.0.1. */
export async function listens(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
  } finally {
    socket.destroy()
  }
}
