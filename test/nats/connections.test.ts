import { rmSync } from 'node:fs'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { connect } from '../../src/bus.ts'
import { jwtAccess, nkeyAccess, passwordAccess, tokenAccess } from '../rig/access.ts'
import { type Certificates, makeCertificates } from '../rig/certificates.ts'
import { type NatsNode, startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'
import { eager, folder, refusal, roundTrip, works } from './support.ts'

const place = folder()
const address = (server: NatsNode): string => `127.0.0.1:${server.port}`

await describeNats('the way in', (version) => {
  test('user and password: as options, in the URL, percent-encoded', async () => {
    const password = 'p@ss:9/w?#,%'
    await using server = await startNats({ version, access: passwordAccess([{ user: 'a user', password }]) })
    await works(server.url, { user: 'a user', password })
    await works(server.url, { user: 'a user', password: () => password })
    await works(`nats://a%20user:${encodeURIComponent(password)}@${address(server)}`)
    expect((await refusal(server.url)).code).toBe('unauthorized')
    expect((await refusal(server.url, { user: 'a user', password: 'other' })).code).toBe('unauthorized')
    // What is said in the options is meant, whatever the URL says.
    expect((await refusal(`nats://a%20user:${encodeURIComponent(password)}@${address(server)}`, { user: 'other' })).code).toBe(
      'unauthorized',
    )
  })

  test('a token: as an option and in the URL', async () => {
    await using server = await startNats({ version, access: tokenAccess('t0ken') })
    await works(server.url, { token: 't0ken' })
    await works(`nats://t0ken@${address(server)}`)
    expect((await refusal(server.url, { token: 'other' })).code).toBe('unauthorized')
  })

  test('an NKey: the seed or its file, with whatever an editor leaves', async () => {
    const access = nkeyAccess()
    await using server = await startNats({ version, access })
    await works(server.url, { nkey: access.seed })
    await works(server.url, { nkey: `${access.seed}\r\n` })
    await works(server.url, { nkey: place.file('seed', `\n${access.seed}\r\n`) })
    expect((await refusal(server.url, { nkey: nkeyAccess().seed })).code).toBe('unauthorized')
    // A letter of it changed: no seed, and nothing of it in the error. One in the middle: of the last
    // letter's five bits two are padding, so another last letter may be the same seed.
    const wrong = access.seed.slice(0, 20) + (access.seed[20] === 'A' ? 'B' : 'A') + access.seed.slice(21)
    const error = await refusal(server.url, { nkey: wrong })
    expect([error.code, error.message.includes('nats.nkey'), error.message.includes(wrong.slice(0, 8))]).toEqual([
      'invalid_argument',
      true,
      false,
    ])
  })

  test('a JWT with its seed, and a .creds file: content or path, CRLF, no last line end', async () => {
    const access = await jwtAccess()
    await using server = await startNats({ version, access })
    await works(server.url, { jwt: access.jwt, nkey: access.seed })
    await works(server.url, { jwt: place.file('user.jwt', `${access.jwt}\r\n`), nkey: place.file('user.nk', access.seed) })
    for (const creds of [
      access.creds,
      access.creds.replaceAll('\n', '\r\n'),
      access.creds.trimEnd(),
      access.creds.replaceAll('\n', '\r\n').trimEnd(),
    ]) {
      await works(server.url, { creds })
      await works(server.url, { creds: place.file('user.creds', creds) })
    }
    expect((await refusal(server.url, { creds: place.file('half.creds', access.creds.slice(0, 200)) })).code).toBe('invalid_argument')
    expect((await refusal(server.url, { creds: `${place.path}/no-such.creds` })).code).toBe('invalid_argument')
    const expired = await access.issue({ expires: Math.floor(Date.now() / 1000) - 60 })
    expect((await refusal(server.url, { creds: expired.creds })).code).toBe('unauthorized')
  })

  test('TCP and WebSocket in one process are refused, as the client would mix them up at a reconnect', async () => {
    await using server = await startNats({ version, websocket: true })
    await using _bus = await connect(server.url)
    const error = await refusal(server.websocketUrl)
    expect([error.code, error.message]).toEqual(['unsupported', expect.stringContaining('WebSocket')])
  })

  test('WebSocket: works, and comes back', async () => {
    await using server = await startNats({ version, websocket: true })
    await using proxy = await startProxy(Number(new URL(server.websocketUrl).port))
    await using bus = await connect(`ws://127.0.0.1:${proxy.port}`, { nats: eager })
    await roundTrip(bus)
    const healthy = async (): Promise<boolean> => (await bus.health()).ok
    await proxy.refuse()
    proxy.cut()
    await vi.waitFor(async () => expect(await healthy()).toBe(false), 10_000)
    await proxy.accept()
    await vi.waitFor(async () => expect(await healthy()).toBe(true), 10_000)
    await roundTrip(bus)
  })

  test('a context of the NATS command line', async () => {
    const access = nkeyAccess()
    await using server = await startNats({ version, access })
    vi.stubEnv('XDG_CONFIG_HOME', place.path)
    const { mkdirSync } = await import('node:fs')
    mkdirSync(`${place.path}/nats/context`, { recursive: true })
    const context = (name: string, fields: object): string => place.file(`nats/context/${name}.json`, JSON.stringify(fields))
    try {
      // As nats 0.5 writes it: every field, most of them empty. A relative path is one from its folder.
      place.file('nats/context/seed.nk', access.seed)
      context('whole', {
        description: 'x',
        url: server.url,
        socks_proxy: '',
        token: '',
        user: '',
        password: '',
        creds: '',
        nkey: 'seed.nk',
        nsc: '',
        tls_first: false,
      })
      context('lost', { url: server.url, nkey: place.file('no-such', '') })
      context('odd', { url: server.url, jetstream_domain: 'hub' })
      vi.stubEnv('COZEBUS_URL', '')
      await works('nats+context:whole')
      const bus = await connect({ nats: { context: 'whole' } })
      expect(bus.status().ledger).toContain(address(server))
      await bus.close()
      // An address that is given wins; credentials that are given replace the context's.
      await works(`nats://localhost:${server.port}`, { context: 'whole' })
      expect((await refusal(server.url, { context: 'whole', user: 'nobody' })).code).toBe('unauthorized')
      expect((await refusal('nats+context:odd')).code).toBe('unsupported')
      expect((await refusal('nats+context:missing')).code).toBe('not_found')
      expect((await refusal('nats+context:../whole')).code).toBe('invalid_argument')
      rmSync(`${place.path}/no-such`)
      expect((await refusal('nats+context:lost')).code).toBe('invalid_argument')
    } finally {
      vi.unstubAllEnvs()
    }
  })
})

await describeNats('TLS', (version) => {
  let certificates: Certificates
  let other: Certificates
  beforeAll(async () => {
    certificates = await makeCertificates()
    other = await makeCertificates()
  })
  afterAll(() => {
    certificates.remove()
    other.remove()
  })

  test('with a private authority: its file or its text, by name and by address', async () => {
    await using server = await startNats({ version, tls: { certificates } })
    const { ca } = certificates.paths
    await works(server.url, { tls: { ca } })
    await works(`tls://localhost:${server.port}`, { tls: { ca: certificates.ca } })
    // A server that asks for TLS gets it, be the address nats:// or not.
    await works(`nats://${address(server)}`, { tls: { ca } })
    const strange = await refusal(server.url)
    expect([strange.code, strange.message]).toEqual(['unauthorized', expect.stringContaining('nats.tls.ca')])
    expect((await refusal(server.url, { tls: { ca: other.paths.ca } })).code).toBe('unauthorized')
    expect((await refusal(server.url, { tls: { ca: '/no/such.pem' } })).code).toBe('invalid_argument')
  })

  test('a server known by its address alone needs no certificate for localhost; one for another address will not do', async () => {
    const mine = await makeCertificates({ names: [], ips: ['127.0.0.1'] })
    const foreign = await makeCertificates({ names: ['localhost'], ips: [] })
    await using server = await startNats({ version, tls: { certificates: mine } })
    await works(server.url, { tls: { ca: mine.paths.ca } })
    await using wrong = await startNats({ version, tls: { certificates: foreign } })
    const error = await refusal(wrong.url, { tls: { ca: foreign.paths.ca } })
    expect([error.code, error.message]).toEqual(['unauthorized', expect.stringContaining('certificate')])
    mine.remove()
    foreign.remove()
  })

  test('is enforced: a server without it is refused before anything is sent', async () => {
    await using server = await startNats({ version, access: passwordAccess(), websocket: true })
    for (const [url, tls] of [
      [`tls://${address(server)}`, undefined],
      [`nats://${address(server)}`, {}],
    ] as const) {
      const error = await refusal(url, { user: 'rig', password: 'rig-password', ...(tls ? { tls } : {}) })
      expect([error.code, error.message]).toEqual(['unsupported', expect.stringContaining('no TLS')])
    }
    expect((await refusal(server.websocketUrl, { tls: {} })).code).toBe('invalid_argument')
    expect((await refusal(server.websocketUrl.replace('ws:', 'wss:'), { connectTimeoutMs: 1000 })).message).toContain('TLS')
  })

  test('with a certificate of the client', async () => {
    await using server = await startNats({ version, tls: { certificates, verify: true }, websocket: true })
    const { ca, clientCert: cert, clientKey: key } = certificates.paths
    await works(server.url, { tls: { ca, cert, key } })
    await works(server.url, { tls: { ca, cert: certificates.clientCert, key: certificates.clientKey } })
    await works(server.websocketUrl, { tls: { ca, cert, key } })
    const without = await refusal(server.url, { tls: { ca } })
    expect([without.code, without.message]).toEqual(['unauthorized', expect.stringContaining('nats.tls.cert')])
    const wrong = await refusal(server.url, {
      tls: { ca, cert: other.paths.clientCert, key: other.paths.clientKey },
      connectTimeoutMs: 2000,
    })
    expect([wrong.code, wrong.message]).toEqual(['unauthorized', expect.stringContaining('nats.tls.cert')])
    expect((await refusal(server.websocketUrl)).message).toContain('nats.tls.ca')
  })

  test('before the first line of the server', async () => {
    await using server = await startNats({ version, tls: { certificates, handshakeFirst: true } })
    const { ca } = certificates.paths
    await works(server.url, { tls: { ca, handshakeFirst: true } })
    const error = await refusal(server.url, { tls: { ca }, connectTimeoutMs: 400 })
    expect(error.message).toContain('nats.tls.handshakeFirst')
  })
})
