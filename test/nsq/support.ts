import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished } from 'vitest'
import { type Bus, type ConnectOptions, connect } from '../../src/bus.ts'
import type { NsqOptions } from '../../src/engines/nsq/options.ts'
import { BusError } from '../../src/errors.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { type NsqdSettings, type NsqNode, startNsqd } from '../rig/nsq.ts'

/** For tests that wait for reconnects. */
export const eager: NsqOptions = { reconnectWaitMs: 20, reconnectMaxWaitMs: 100, connectTimeoutMs: 3000, lookupIntervalMs: 200 }

/** An nsqd that is gone after the test. */
export async function nsqd(settings: NsqdSettings = {}): Promise<NsqNode> {
  const node = await startNsqd(settings)
  onTestFinished(() => node.stop())
  return node
}

/** A bus that is closed after the test, with its ledger in memory. */
export async function busAt(url: string, nsq: NsqOptions = {}, options: ConnectOptions = {}): Promise<Bus> {
  const bus = await connect(url, { ledger: memoryLedger(), drain: 2000, nsq: { ...eager, ...nsq }, ...options })
  onTestFinished(() => bus.close())
  return bus
}

export const busOn = (node: NsqNode, nsq: NsqOptions = {}, options: ConnectOptions = {}): Promise<Bus> =>
  busAt(node.url, { http: [node.http], ...nsq }, options)

export async function roundTrip(bus: Bus, topic = `round.${crypto.randomUUID().slice(0, 8)}`): Promise<void> {
  const got = Promise.withResolvers<unknown>()
  const work = await bus.subscribe(topic, { group: 'g' }, (message) => got.resolve(message.body))
  await bus.publish(topic, { hello: topic })
  expect(await got.promise).toEqual({ hello: topic })
  await work.close()
}

/** The error with which connecting fails; the bus is closed where it does not. */
export async function refusal(url: string, nsq: NsqOptions = {}): Promise<BusError> {
  const thrown = await connect(url, { ledger: memoryLedger(), nsq: { connectTimeoutMs: 3000, ...nsq } }).then(
    async (bus) => {
      await bus.close()
      return new Error('it connected')
    },
    (error: unknown) => error,
  )
  expect(thrown).toBeInstanceOf(BusError)
  return thrown as BusError
}

/** Who says to nsqd what a secret allows: topics and channels by patterns. */
export async function authServer(allowed: Record<string, { topic: string; channels: string[]; permissions: string[] }[]>): Promise<string> {
  const server: Server = createServer((asked, answer) => {
    const secret = new URL(asked.url!, 'http://x').searchParams.get('secret') ?? ''
    const authorizations = allowed[secret]
    answer.statusCode = authorizations ? 200 : 403
    answer.end(JSON.stringify({ ttl: 60, identity: 'rig', identity_url: '', authorizations: authorizations ?? [] }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}
