import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { ConnectOptions } from '../../src/bus.ts'
import { shell } from './support.ts'

/**
 * The main path over a broker as a user goes it: the server with `COZEBUS_URL`; publish, pull, retry, reject and replay over HTTP; a stop that drains.
 * To be called while a file's tests are collected.
 */
export function mainPath(): (url: string, options?: ConnectOptions) => Promise<void> {
  const { dir, serve } = shell()
  return async (url, options = {}) => {
    const file = join(dir, 'options.json')
    writeFileSync(file, JSON.stringify({ ledger: `file:${join(dir, 'ledger')}`, ...options }))
    const { base, child, ended } = await serve([], { COZEBUS_URL: url, COZEBUS_OPTIONS: file })
    const call = async (path: string, body?: unknown) => {
      const sent = body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
      const response = await fetch(base + path, sent)
      if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
      return response.json() as Promise<any>
    }
    const topic = '/v1/topics/served.docs'
    const group = `${topic}/groups/indexer`
    const pull = async (): Promise<any> => {
      for (;;) {
        const { messages } = await call(`${group}/pull`, { max: 1, waitMs: 5000, leaseMs: 60_000 })
        if (messages.length > 0) return messages[0]
      }
    }
    const settle = async ({ token }: any, outcome: object) =>
      expect(await call(`${group}/settle`, { results: [{ token, ...outcome }] })).toMatchObject({ results: [{ ok: true }] })
    // The group is there before the message: some brokers keep nothing for one that is to come.
    await call(`${group}/pull`, { max: 1, waitMs: 0, leaseMs: 60_000 })
    await call(`${topic}/messages`, { file: 'a.md' })
    await settle(await pull(), { retry: { delayMs: 10 } })
    const again = await pull()
    expect(again).toMatchObject({ attempt: 2, body: { file: 'a.md' } })
    await settle(again, { reject: { reason: 'bad file' } })
    await expect
      .poll(() => call(`${group}/dead-letters`), { timeout: 20_000 })
      .toMatchObject({ deadLetters: [{ error: expect.stringContaining('bad file') }] })
    expect(await call(`${group}/dead-letters/replay`, { filter: {} })).toEqual({ replayed: 1 })
    await settle(await pull(), { ack: true })
    child.kill('SIGTERM')
    expect((await ended).code).toBe(0)
  }
}
