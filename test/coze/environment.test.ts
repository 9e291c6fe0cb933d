import { describe, expect, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { configFromEnv } from '../../src/coze/index.ts'

const nats = (more: Record<string, string> = {}) => configFromEnv({ COZE_MQ_TYPE: 'nats', MQ_NAME_SERVER: 'nats:4222', ...more })
const jetstream = { NATS_USE_JETSTREAM: 'true' }

describe('NATS, by the variables of the guide', () => {
  test('addresses: with a scheme or without, one or many', () => {
    const url = (text: string) => (nats({ MQ_NAME_SERVER: text }) as { url: string }).url
    expect(url('host:4222')).toBe('nats://host:4222')
    expect(url('nats://a:4222,nats://b:4222')).toBe('nats://a:4222,b:4222')
    expect(url(' a:4222 , b:4222/ ')).toBe('nats://a:4222,b:4222')
    expect(url('tls://a:4222,b:4222')).toBe('tls://a:4222,b:4222')
    expect(url('wss://a:443')).toBe('wss://a:443')
    expect(url('nats')).toBe('nats://nats')
    expect(url('nats://user:word@a:4222')).toBe('nats://user:word@a:4222')
  })

  test('NATS_SERVER_URL is the address where MQ_NAME_SERVER is not set, and an empty variable is not set', () => {
    expect(nats({ MQ_NAME_SERVER: '', NATS_SERVER_URL: 'nats://a:4222' })).toMatchObject({ url: 'nats://a:4222' })
    expect(nats({ NATS_SERVER_URL: 'nats://nats', NATS_TOKEN: ' ' })).toEqual({
      type: 'nats',
      url: 'nats://nats:4222',
      nats: { jetstream: false },
    })
  })

  test('JetStream is what NATS_USE_JETSTREAM=true says', () => {
    expect(nats(jetstream)).toMatchObject({ nats: {} })
    expect(nats(jetstream)).not.toHaveProperty('nats.jetstream')
    expect(nats({ NATS_USE_JETSTREAM: 'false' })).toMatchObject({ nats: { jetstream: false } })
    expect(() => nats({ NATS_USE_JETSTREAM: '1' })).toThrow(/NATS_USE_JETSTREAM=1.*write true or false/)
  })

  test('who we are: a JWT before a user before a token before what Coze does not have', () => {
    const all = {
      NATS_JWT_TOKEN: 'j',
      NATS_NKEY_SEED: '/run/secrets/seed',
      NATS_USERNAME: 'u',
      NATS_PASSWORD: 'p',
      NATS_TOKEN: 't',
      NATS_CREDS: '/run/secrets/creds',
    }
    const order = ['NATS_JWT_TOKEN', 'NATS_USERNAME', 'NATS_TOKEN', 'NATS_CREDS', 'NATS_NKEY_SEED'] as const
    const seen = order.map((name) => {
      const { nats: options } = nats({ ...jetstream, ...all }) as { nats: object }
      delete (all as Record<string, string>)[name]
      if (name === 'NATS_USERNAME') delete (all as Record<string, string>)['NATS_PASSWORD']
      return options
    })
    const nkey = '/run/secrets/seed'
    expect(seen).toEqual([{ jwt: 'j', nkey }, { user: 'u', password: 'p' }, { token: 't' }, { creds: '/run/secrets/creds' }, { nkey }])
  })

  test('a private authority, a client certificate, copies', () => {
    const files = { NATS_CA: '/ca.pem', NATS_CERT: '/cert.pem', NATS_KEY: '/key.pem', NATS_STREAM_REPLICAS: '3' }
    expect(nats({ ...jetstream, ...files })).toMatchObject({
      nats: { tls: { ca: '/ca.pem', cert: '/cert.pem', key: '/key.pem' }, replicas: 3 },
    })
    expect(() => nats({ NATS_CERT: '/cert.pem' })).toThrow(/NATS_CERT and NATS_KEY belong together/)
    for (const wrong of ['0', 'three', '7']) expect(() => nats({ NATS_STREAM_REPLICAS: wrong })).toThrow(/NATS_STREAM_REPLICAS/)
    expect(() => nats({ NATS_PASSWORD: 'secret' })).toThrow(/NATS_USERNAME is not/)
    expect(() => nats({ NATS_PASSWORD: 'secret' })).not.toThrow(/secret/)
  })

  test('conflicts are told with what to write', () => {
    const wrong: [Record<string, string>, RegExp][] = [
      [{ MQ_NAME_SERVER: 'nsqlookupd:4161' }, /MQ_NAME_SERVER: nsqlookupd:4161 is a port of nsqlookupd.*like nats:4222/],
      [{ MQ_NAME_SERVER: 'nsqlookupd:4160' }, /nsqlookupd/],
      [{ MQ_NAME_SERVER: 'nsqd:4150' }, /nsqd/],
      [{ MQ_NAME_SERVER: 'nats:8222' }, /NATS's monitoring/],
      [{ MQ_NAME_SERVER: 'pulsar://pulsar:6650' }, /begins with pulsar:\/\//],
      [{ NATS_SERVER_URL: 'nats://other:4222' }, /name different servers.*reads MQ_NAME_SERVER alone/],
      [{ MQ_NAME_SERVER: ',' }, /names no server/],
      [{ MQ_NAME_SERVER: '' }, /neither MQ_NAME_SERVER nor NATS_SERVER_URL/],
    ]
    for (const [variables, message] of wrong) expect(() => nats(variables)).toThrow(message)
    // Whoever writes a scheme means it.
    expect(nats({ MQ_NAME_SERVER: 'nats://nats:4161' })).toMatchObject({ url: 'nats://nats:4161' })
  })
})

describe('the other brokers', () => {
  const config = (type: string, server: string, more: Record<string, string> = {}) =>
    configFromEnv({ COZE_MQ_TYPE: type, MQ_NAME_SERVER: server, ...more })

  test('are read too, in the forms that Coze could not take', () => {
    expect(config('kafka', 'k1:9092,k2:9092')).toEqual({
      type: 'kafka',
      brokers: ['k1:9092', 'k2:9092'],
      url: 'kafka://k1:9092,k2:9092',
    })
    expect(config('kafka', 'kafka+ssl://u:p@k1:9093')).toEqual({ type: 'kafka', brokers: ['k1:9093'], url: 'kafka+ssl://u:p@k1:9093' })
    expect(config('nsq', 'nsqd:4150')).toEqual({ type: 'nsq', url: 'nsq://nsqd:4150', nsq: {}, ledger: undefined })
    expect(config('nsq', 'nsq+lookup://a:4161,b')).toMatchObject({ url: 'nsq+lookup://a:4161,b' })
    expect(
      configFromEnv({ COZE_MQ_TYPE: 'nsq', MQ_NAME_SERVER: 'a', NSQ_AUTH_SECRET: 's', NSQ_CA: 'ca.pem', COZEBUS_LEDGER: 'file:./ledger' }),
    ).toEqual({
      type: 'nsq',
      url: 'nsq://a',
      nsq: { secret: 's', tls: { ca: 'ca.pem' } },
      ledger: 'file:./ledger',
    })
    expect(() => configFromEnv({ COZE_MQ_TYPE: 'nsq', MQ_NAME_SERVER: 'a', NSQ_CERT: 'c.pem' })).toThrow(/NSQ_KEY/)
    expect(config('rmq', 'http://a:9876;b:9876', { RMQ_ACCESS_KEY: 'a', RMQ_SECRET_KEY: 's' })).toEqual({
      type: 'rmq',
      nameServers: ['a:9876', 'b:9876'],
      accessKey: 'a',
      secretKey: 's',
      ledger: undefined,
    })
    const pulsarUrl = (server: string) => (config('pulsar', server, { PULSAR_JWT_TOKEN: 't' }) as { url: string }).url
    expect(pulsarUrl('pulsar:6650')).toBe('pulsar://pulsar:6650')
    expect(pulsarUrl('pulsar://b1:6650,pulsar://b2:6650')).toBe('pulsar://b1:6650,b2:6650')
    expect(configFromEnv({ COZE_MQ_TYPE: 'pulsar', PULSAR_SERVICE_URL: 'pulsar+ssl://p:6651' })).toEqual({
      type: 'pulsar',
      url: 'pulsar+ssl://p:6651',
      pulsar: {},
      ledger: undefined,
    })
    const secured = { PULSAR_JWT_TOKEN: 't', PULSAR_CA: 'ca.pem', PULSAR_CERT: 'c.pem', PULSAR_KEY: 'k.pem' }
    expect(config('pulsar', 'pulsar+ssl://p:6651', secured)).toMatchObject({
      pulsar: { token: 't', tls: { ca: 'ca.pem', cert: 'c.pem', key: 'k.pem' } },
    })
    expect(() => config('pulsar', 'p', { PULSAR_CERT: 'c.pem' })).toThrow(/PULSAR_CERT and PULSAR_KEY belong together/)
    expect(() => config('nsq', 'nsqlookupd:4161')).toThrow(/port of nsqlookupd.*nsqd:4150/)
  })

  test('an unknown one is refused', () => {
    expect(() => configFromEnv({})).toThrow(/COZE_MQ_TYPE is not set/)
    expect(() => configFromEnv({ COZE_MQ_TYPE: 'NATS' })).toThrow(/COZE_MQ_TYPE=NATS is unknown.*small letters/)
  })
})

test('connect() takes COZEBUS_URL before the variables of Coze, and those before the embedded store', async () => {
  const before = { ...process.env }
  try {
    process.env['COZE_MQ_TYPE'] = 'pulsar'
    process.env['MQ_NAME_SERVER'] = '127.0.0.1:1'
    delete process.env['COZEBUS_URL']
    const nobodyThere = { code: 'engine_unavailable', message: expect.stringContaining('127.0.0.1:1') }
    await expect(connect()).rejects.toMatchObject(nobodyThere)
    process.env['COZEBUS_URL'] = 'memory:'
    const bus = await connect()
    expect(bus.status().engine).toBe('embedded')
    await bus.close()
  } finally {
    process.env = before
  }
})
