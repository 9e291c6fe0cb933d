import { expect, onTestFinished, test } from 'vitest'
import { type Certificates, makeCertificates } from '../rig/certificates.ts'
import { describeRocketmq } from '../rig/needs.ts'
import { busAt, refusal, rocketmq, roundTrip } from './support.ts'

async function certificates(): Promise<Certificates> {
  const made = await makeCertificates()
  onTestFinished(() => made.remove())
  return made
}

await describeRocketmq('TLS', () => {
  test('name server and broker by a private CA, and nobody who is not of it', async () => {
    const own = await certificates()
    const brokers = await rocketmq({ tls: { certificates: own } })
    await roundTrip(await busAt(brokers.url, { tls: { ca: own.ca } }))
    await roundTrip(await busAt(brokers.url, { tls: { ca: own.paths.ca } }))
    const stranger = await refusal(brokers.url, { tls: { ca: (await certificates()).ca } })
    expect(stranger.code).toBe('engine_unavailable')
    expect(stranger.message).toContain('TLS failed')
  }, 120_000)

  test('a certificate of the client', async () => {
    const own = await certificates()
    const brokers = await rocketmq({ tls: { certificates: own, clients: true } })
    await roundTrip(await busAt(brokers.url, { tls: { ca: own.ca, cert: own.clientCert, key: own.clientKey } }))
    expect((await refusal(brokers.url, { tls: { ca: own.ca }, connectTimeoutMs: 2000 })).code).toBe('engine_unavailable')
  }, 120_000)
})
