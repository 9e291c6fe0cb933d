import { createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { type Certificates, makeCertificates } from '../rig/certificates.ts'
import { type KafkaNode, startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { freePorts } from '../rig/ports.ts'
import { eager, refusal, roundTrip, works } from './support.ts'

const user = 'coze'
const password = 'se:cr%et@1'

await describeKafka('connecting', () => {
  describe('to a broker that asks who one is', () => {
    let broker: KafkaNode
    beforeAll(async () => {
      broker = await startKafka({ users: { [user]: password }, mechanisms: ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] })
    }, 90_000)
    afterAll(() => broker.stop())

    test.each(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const)('by %s', (mechanism) =>
      works(broker.url, { user, password, mechanism }),
    )

    test('with a password that is asked for at each connection', async () => {
      let asked = 0
      const current = (): string => {
        asked++
        return password
      }
      await works(broker.url, { user, password: current, mechanism: 'SCRAM-SHA-256' })
      expect(asked).toBeGreaterThan(1)
    })

    test('with user and password in the address', () => works(`kafka://${user}:${encodeURIComponent(password)}@${broker.address}`))

    test.each(['PLAIN', 'SCRAM-SHA-256'] as const)('a wrong password is refused at once, by %s, and told nowhere', async (mechanism) => {
      const begun = performance.now()
      const error = await refusal(broker.url, { user, password: 'wrong-secret', mechanism })
      expect(error.code).toBe('unauthorized')
      expect(error.message).toContain('refused the credentials')
      expect(error.message).not.toContain('wrong-secret')
      expect(performance.now() - begun).toBeLessThan(4000)
    })

    test('without a user one is not let in', async () => {
      const error = await refusal(broker.url)
      expect(error.code).toBe('engine_unavailable')
      expect(error.message).toContain(broker.address)
      expect(error.message).toContain('kafka.user')
    })
  })

  describe('by TLS', () => {
    let broker: KafkaNode
    let certificates: Certificates
    beforeAll(async () => {
      certificates = await makeCertificates()
      broker = await startKafka({ tls: { certificates, verify: true } })
    }, 90_000)
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

    test('without TLS where it is asked for, the error says so', async () => {
      const error = await refusal(`kafka://${broker.address}`)
      expect(error.code).toBe('engine_unavailable')
      expect(error.message).toContain('kafka+ssl://')
    })
  })

  describe('to a broker', () => {
    let broker: KafkaNode
    beforeAll(async () => {
      broker = await startKafka()
    }, 90_000)
    afterAll(() => broker.stop())

    test('several addresses: one that is there is enough', async () => {
      const [free] = await freePorts(1)
      await works(`kafka://127.0.0.1:${free},${broker.address}`)
    })

    test('one that takes connections and never answers is asked last', async () => {
      const frozen = createServer(() => {})
      await new Promise<void>((resolve) => frozen.listen(0, '127.0.0.1', resolve))
      await works(`kafka://127.0.0.1:${(frozen.address() as { port: number }).port},${broker.address}`)
      frozen.close()
    }, 60_000)

    test('TLS where it is not spoken', async () => {
      expect((await refusal(`kafka+ssl://${broker.address}`)).code).toBe('engine_unavailable')
    })

    test('a topic that is missing, where none may be made', async () => {
      await using bus = await connect(broker.url, { kafka: { ...eager, createTopics: false }, ledger: 'memory:' })
      await expect(bus.publish('nowhere', 1)).rejects.toMatchObject({ code: 'not_found', message: expect.stringContaining('createTopics') })
      await expect(bus.subscribe('nowhere', { group: 'g' }, () => {})).rejects.toMatchObject({ code: 'not_found' })
    })

    test('it is killed and comes back: what is published meanwhile is confirmed, what was subscribed goes on', async () => {
      await using bus = await connect(broker.url, { kafka: eager })
      const got: number[] = []
      await bus.subscribe('steady', { group: 'g' }, ({ body }) => void got.push(body as number))
      await bus.publish('steady', 1)
      await broker.kill()
      await expect.poll(async () => (await bus.health()).ok).toBe(false)
      const meanwhile = bus.publish('steady', 2)
      await broker.start()
      await meanwhile
      await expect.poll(() => [...new Set(got)]).toEqual([1, 2])
      await expect.poll(async () => (await bus.health()).ok).toBe(true)
      await roundTrip(bus)
    }, 90_000)

    test('one that is not there yet is waited for, where that is asked', async () => {
      await broker.kill()
      const waiting = connect(broker.url, { kafka: { ...eager, waitForServer: 60_000 } })
      await broker.start()
      await using bus = await waiting
      await roundTrip(bus)
    }, 90_000)
  })

  test('nobody listens', async () => {
    const [free] = await freePorts(1)
    const error = await refusal(`kafka://127.0.0.1:${free}`)
    expect(error.code).toBe('engine_unavailable')
    expect(error.message).toContain(`127.0.0.1:${free}`)
  })

  test('something listens that is no Kafka', async () => {
    const web = createServer((socket) =>
      socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')).on('error', () => {}),
    )
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
    const { port } = web.address() as { port: number }
    const error = await refusal(`kafka://127.0.0.1:${port}`)
    web.close()
    expect(error.code).toBe('engine_unavailable')
    expect(error.message).toContain(`127.0.0.1:${port}`)
    expect(error.message).toContain('no Kafka')
  })
})
