import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { type Bus, type ConnectOptions, connect } from '../../src/bus.ts'
import type { NatsOptions } from '../../src/engines/nats/options.ts'
import { BusError } from '../../src/errors.ts'

/** A folder that is gone after the file's tests, and how to put files in it. */
export function folder(): { path: string; file(name: string, text: string): string } {
  const path = mkdtempSync(join(tmpdir(), 'cozebus-nats-'))
  afterAll(() => rmSync(path, { recursive: true, force: true }))
  return {
    path,
    file(name, text) {
      const at = join(path, name)
      writeFileSync(at, text, { mode: 0o600 })
      return at
    },
  }
}

/** For tests that wait for reconnects. */
export const eager: NatsOptions = { reconnectWaitMs: 20, reconnectJitterMs: 0, connectTimeoutMs: 3000 }

/** Connects, publishes, receives in a group, closes. */
export async function works(url: string, nats: NatsOptions = {}): Promise<void> {
  await using bus = await connect(url, { nats })
  await roundTrip(bus)
}

export async function roundTrip(bus: Bus, topic = `round.${crypto.randomUUID()}`): Promise<void> {
  const got = Promise.withResolvers<unknown>()
  const work = await bus.subscribe(topic, { group: 'g' }, (message) => got.resolve(message.body))
  await bus.publish(topic, { hello: topic })
  expect(await got.promise).toEqual({ hello: topic })
  await work.close()
}

/** The error with which connecting fails; the bus is closed where it does not. */
export async function refusal(url: string, options: ConnectOptions | NatsOptions = {}): Promise<BusError> {
  const nats = 'nats' in options ? options : { nats: options as NatsOptions }
  const thrown = await connect(url, nats).then(
    async (bus) => {
      await bus.close()
      return new Error('it connected')
    },
    (error: unknown) => error,
  )
  expect(thrown).toBeInstanceOf(BusError)
  return thrown as BusError
}

const page = readFileSync(join(import.meta.dirname, '../../docs/nats.md'), 'utf8')
/** The permissions that docs/nats.md tells an operator to give, as they stand there. The last line may end with a comment. */
export const documented = `${/permissions: \{\n([\s\S]*?)\n\}\n/.exec(page)![1]!}\n`
