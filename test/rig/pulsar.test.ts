import { connect, type TLSSocket } from 'node:tls'
import { expect, onTestFinished, test } from 'vitest'
import { makeCertificates } from './certificates.ts'
import { describePulsar } from './needs.ts'
import { startPulsar } from './pulsar.ts'

const topic = '/persistent/public/default/kept'

await describePulsar('the rig', () => {
  test('what a broker has stored survives a SIGKILL; the ports stay; it starts from the class archive', async () => {
    await using broker = await startPulsar()
    const { url, admin } = broker
    await broker.ask(`/admin/v2${topic}`, { method: 'PUT' })
    await broker.ask(`/admin/v2${topic}/subscription/group`, { method: 'PUT' })
    await broker.ask(`/topics${topic}`, { method: 'POST', body: { producerName: 'rig', messages: [{ payload: 'one' }] } })
    await broker.kill()
    await expect(fetch(admin)).rejects.toThrow()
    await broker.start()
    expect(await broker.ask(`/admin/v2${topic}/subscription/group/position/1`)).toBe('one')
    expect([broker.url, broker.admin]).toEqual([url, admin])
    expect(broker.logs()).not.toContain('[cds')
  }, 120_000)

  test('with tokens nobody comes in without one, and a role does what it was granted', async () => {
    await using broker = await startPulsar({ tokens: { superusers: ['root'] }, autoCreate: false })
    const status = async (token?: string): Promise<number> => {
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
      return (await fetch(`${broker.admin}/admin/v2${topic}/partitions`, { headers })).status
    }
    const seen = [
      await status(),
      await status(broker.token('root', { expiresIn: -60 })),
      await status(broker.token('bob')),
      await status(broker.token('root')),
    ]
    await broker.ask('/admin/v2/namespaces/public/default/permissions/bob', { method: 'POST', body: ['produce', 'consume'] })
    expect([...seen, await status(broker.token('bob'))]).toEqual([401, 401, 401, 404, 404])
  }, 120_000)

  test('TLS: its certificate is of our CA, and with `verify` a client shows one', async () => {
    const certificates = await makeCertificates()
    onTestFinished(() => certificates.remove())
    await using broker = await startPulsar({ tls: { certificates, verify: true, roles: true } })
    expect(broker.url).toMatch(/^pulsar\+ssl:\/\/127\.0\.0\.1:/)
    // With TLS 1.3 the refusal follows the handshake: only a connection that stays is one.
    const stays = (own: { cert?: string; key?: string }): Promise<boolean> =>
      new Promise((resolve) => {
        const socket: TLSSocket = connect({ host: '127.0.0.1', port: broker.port, ca: certificates.ca, ...own }, () =>
          setTimeout(() => resolve(true), 500),
        )
        socket.on('error', () => resolve(false)).on('close', () => resolve(false))
        onTestFinished(() => void socket.destroy())
      })
    expect(await stays({ cert: certificates.clientCert, key: certificates.clientKey })).toBe(true)
    expect(await stays({})).toBe(false)
  }, 120_000)
})
