import { afterAll, expect, test } from 'vitest'
import { configFromEnv, createProducer, registerConsumer } from '../../src/coze/index.ts'
import { jwtAccess, passwordAccess } from '../rig/access.ts'
import { makeCertificates } from '../rig/certificates.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

const certificates = await makeCertificates()
afterAll(() => certificates.remove())

async function works(config: ReturnType<typeof configFromEnv>): Promise<void> {
  const got = Promise.withResolvers<string>()
  const consumer = await registerConsumer(config, 'opencoze_secure', 'cg_secure', ({ body }) => got.resolve(Buffer.from(body).toString()))
  const producer = await createProducer(config, 'opencoze_secure', 'cg_secure')
  await producer.send('{"secure":true}')
  expect(await got.promise).toBe('{"secure":true}')
  await producer.close()
  await consumer.close()
}

await describeNats("Coze's variables", (version) => {
  test('reach a server with a private authority that asks for a certificate', async () => {
    await using server = await startNats({ version, tls: { certificates, verify: true } })
    const { ca, clientCert, clientKey } = certificates.paths
    const env = { COZE_MQ_TYPE: 'nats', MQ_NAME_SERVER: `127.0.0.1:${server.port}`, NATS_USE_JETSTREAM: 'true', NATS_CA: ca }
    await works(configFromEnv({ ...env, NATS_CERT: clientCert, NATS_KEY: clientKey }))
    await expect(createProducer(configFromEnv(env), 'opencoze_secure', 'cg_secure')).rejects.toMatchObject({ code: 'unauthorized' })
  })

  test('log in as they say', async () => {
    const jwt = await jwtAccess()
    {
      await using server = await startNats({ version, access: jwt })
      const env = { COZE_MQ_TYPE: 'nats', MQ_NAME_SERVER: server.url, NATS_USE_JETSTREAM: 'true' }
      await works(configFromEnv({ ...env, NATS_JWT_TOKEN: jwt.jwt, NATS_NKEY_SEED: jwt.seed }))
    }
    await using server = await startNats({ version, access: passwordAccess([{ user: 'coze', password: 'p@ss:word' }]) })
    const env = { COZE_MQ_TYPE: 'nats', MQ_NAME_SERVER: `127.0.0.1:${server.port}`, NATS_USE_JETSTREAM: 'true' }
    await works(configFromEnv({ ...env, NATS_USERNAME: 'coze', NATS_PASSWORD: 'p@ss:word' }))
    await expect(
      createProducer(configFromEnv({ ...env, NATS_USERNAME: 'coze', NATS_PASSWORD: 'wrong' }), 'opencoze_secure', 'cg_secure'),
    ).rejects.toMatchObject({ code: 'unauthorized' })
  })
})
