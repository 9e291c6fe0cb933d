import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { type Certificates, makeCertificates } from '../rig/certificates.ts'
import { describePulsar } from '../rig/needs.ts'
import { freePorts } from '../rig/ports.ts'
import { type PulsarNode, startPulsar } from '../rig/pulsar.ts'
import { busAt, eager, fresh, refusal, roundTrip, works } from './support.ts'

await describePulsar('connecting', () => {
  describe('to a broker that asks for tokens', () => {
    let broker: PulsarNode
    beforeAll(async () => {
      broker = await startPulsar({ tokens: { superusers: ['coze'] }, extra: { authenticationRefreshCheckSeconds: '1' } })
    }, 120_000)
    afterAll(() => broker.stop())

    test('with one, as text and as a function', async () => {
      const token = broker.token('coze')
      await works(broker.url, { token })
      await works(broker.url, { token: () => token, admin: broker.admin })
    })

    test('without one, and with a wrong or an old one, it is refused at once and told nowhere', async () => {
      expect((await refusal(broker.url)).code).toBe('unauthorized')
      for (const token of ['not.a.token', broker.token('coze', { expiresIn: -60 })]) {
        const error = await refusal(broker.url, { token })
        expect(error.code).toBe('unauthorized')
        expect(error.message).toContain('pulsar.token')
        expect(error.message).not.toContain(token)
      }
    })

    test('it asks again while connected, of a function that may take its time, and that may fail without harm', async () => {
      let failing = true
      let calls = 0
      const token = async (): Promise<string> => {
        calls++
        await sleep(20)
        if (failing) throw new Error('the vault is sealed')
        return broker.token('coze', { expiresIn: 3 })
      }
      expect(await refusal(broker.url, { token })).toMatchObject({ code: 'unauthorized', message: 'pulsar.token: the vault is sealed' })
      failing = false
      const bus = await busAt(broker.url, { token, admin: false })
      const got: unknown[] = []
      await bus.subscribe('refreshed', { group: 'g' }, ({ body }) => void got.push(body))
      const before = calls
      await expect.poll(() => calls).toBeGreaterThan(before + 1)
      await bus.publish('refreshed', 1)
      failing = true
      await expect.poll(async () => (await bus.health()).ok).toBe(false)
      const meanwhile = bus.publish('refreshed', 2).catch((error: Error) => error.message)
      await sleep(300)
      failing = false
      await expect.poll(async () => (await bus.health()).ok).toBe(true)
      await bus.publish('refreshed', 3)
      await meanwhile
      await expect.poll(() => got).toEqual(expect.arrayContaining([1, 3]))
    })

    test('a role that may produce and consume alone uses topics that the broker makes, and is warned once', async () => {
      await broker.ask('/admin/v2/namespaces/public/default/permissions/worker', { method: 'POST', body: ['produce', 'consume'] })
      const warnings: string[] = []
      const listen = ({ name, message }: Error): void => void (name === 'CozebusWarning' && warnings.push(message))
      process.on('warning', listen)
      onTestFinished(() => void process.off('warning', listen))
      const bus = await busAt(broker.url, { token: broker.token('worker'), admin: broker.admin })
      await roundTrip(bus)
      await bus.publish(fresh('worker'), 1)
      expect(warnings).toEqual([expect.stringContaining('topics are made by the brokers')])
    })

    test('a role that may do nothing there is told so', async () => {
      await using bus = await connect(broker.url, { ledger: memoryLedger(), pulsar: { ...eager, token: broker.token('stranger') } })
      await expect(bus.publish('closed_to_it', 1)).rejects.toMatchObject({ code: 'forbidden' })
      await expect(bus.subscribe('closed_to_it', { group: 'g' }, () => {})).rejects.toMatchObject({ code: 'forbidden' })
    })
  })

  describe('by TLS', () => {
    let broker: PulsarNode
    let certificates: Certificates
    beforeAll(async () => {
      certificates = await makeCertificates()
      broker = await startPulsar({ tls: { certificates, verify: true } })
    }, 120_000)
    afterAll(async () => {
      await broker.stop()
      certificates.remove()
    })

    test('with a certificate of the client, as text and as files', async () => {
      const { ca, clientCert, clientKey, paths } = certificates
      await works(broker.url, { tls: { ca, cert: clientCert, key: clientKey } })
      await works(broker.url, { tls: { ca: paths.ca, cert: paths.clientCert, key: paths.clientKey } })
    })

    test('without one it is refused', async () => {
      expect((await refusal(broker.url, { tls: { ca: certificates.ca } })).code).toBe('engine_unavailable')
    })

    test('an authority that is not known is refused', async () => {
      const other = await makeCertificates()
      const { clientCert, clientKey } = certificates
      const error = await refusal(broker.url, { tls: { ca: other.ca, cert: clientCert, key: clientKey } })
      other.remove()
      expect(error.code).toBe('engine_unavailable')
      expect(error.message).toMatch(/certificate|signature/)
    })

    test('without TLS on that port the error says where one is', async () => {
      const error = await refusal(`pulsar://${broker.address}`, { connectTimeoutMs: 1000 })
      expect(error.code).toBe('engine_unavailable')
      expect(error.message).toContain('6651')
    })
  })

  test('by TLS, where who a client is stands in its certificate', async () => {
    const certificates = await makeCertificates()
    onTestFinished(() => certificates.remove())
    await using broker = await startPulsar({ tls: { certificates, verify: true, roles: true } })
    const { ca, clientCert, clientKey } = certificates
    await works(broker.url, { tls: { ca, cert: clientCert, key: clientKey }, admin: false })
  }, 120_000)

  describe('to a broker', () => {
    let broker: PulsarNode
    beforeAll(async () => {
      broker = await startPulsar({ autoCreate: false })
    }, 120_000)
    afterAll(() => broker.stop())

    test('TLS where it is not spoken', async () => {
      expect((await refusal(`pulsar+ssl://${broker.address}`)).code).toBe('engine_unavailable')
    })

    test('the port for HTTP', async () => {
      const error = await refusal(broker.admin.replace('http', 'pulsar'), { connectTimeoutMs: 1000 })
      expect(error.code).toBe('engine_unavailable')
      expect(error.message).toContain('HTTP')
    })

    test('an HTTP interface that is named has to be there', async () => {
      const [free] = await freePorts(1)
      const error = await refusal(broker.url, { admin: `http://127.0.0.1:${free}` })
      expect(error).toMatchObject({ code: 'engine_unavailable', message: expect.stringContaining('pulsar.admin') })
    })

    test('several addresses: one that is there is enough', async () => {
      const [free] = await freePorts(1)
      await works(`pulsar://127.0.0.1:${free},${broker.address}`, { admin: broker.admin })
    })

    test('a topic that is missing, where none may be made', async () => {
      const bus = await busAt(broker.url, { admin: false })
      await expect(bus.publish('nowhere', 1)).rejects.toMatchObject({ code: 'not_found' })
      await expect(bus.subscribe('nowhere', { group: 'g' }, () => {})).rejects.toMatchObject({ code: 'not_found' })
    })

    test('it is killed and comes back: what is published meanwhile is confirmed, what was subscribed goes on', async () => {
      const bus = await busAt(broker.url, { admin: broker.admin })
      const got: number[] = []
      await bus.subscribe('steady', { group: 'g' }, ({ body }) => void got.push(body as number))
      await bus.publish('steady', 1)
      await broker.kill()
      await expect.poll(async () => (await bus.health()).ok).toBe(false)
      const meanwhile = bus.publish('steady', 2)
      await broker.start()
      await meanwhile
      await expect.poll(() => [...new Set(got)], { timeout: 20_000 }).toEqual([1, 2])
      await expect.poll(async () => (await bus.health()).ok, { timeout: 20_000 }).toBe(true)
      await roundTrip(bus)
    }, 120_000)

    test('one that is not there yet is waited for, where that is asked', async () => {
      await broker.kill()
      const waiting = connect(broker.url, { ledger: memoryLedger(), pulsar: { ...eager, waitForServer: 90_000 } })
      await broker.start()
      await using bus = await waiting
      await roundTrip(bus, 'steady')
    }, 120_000)
  })

  test('nobody listens', async () => {
    const [free] = await freePorts(1)
    const error = await refusal(`pulsar://127.0.0.1:${free}`)
    expect(error.code).toBe('engine_unavailable')
    expect(error.message).toContain(`127.0.0.1:${free}`)
  })

  test('something listens that is no Pulsar: an error that says so, whatever it says', async () => {
    const sayings = [
      'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n',
      '\0\0\0\x05\0\0\0\x01\xff',
      '\xff\xff\xff\xff',
      '\0\0\0\x04\0\0\0\0',
    ]
    for (const saying of sayings) {
      const server = createServer((socket) => socket.on('data', () => socket.end(saying, 'latin1')).on('error', () => {}))
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const error = await refusal(`pulsar://127.0.0.1:${(server.address() as { port: number }).port}`)
      server.close()
      expect(error).toMatchObject({ code: 'engine_unavailable', message: expect.stringContaining('6650') })
    }
  })
})
