import { expect, test, vi } from 'vitest'
import { connect } from '../../src/bus.ts'
import { passwordAccess } from '../rig/access.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'
import { eager, refusal, roundTrip } from './support.ts'

/** A server where `rig` may do everything, and `me` what is said. */
function limited(version: string, permissions: string) {
  return startNats({
    version,
    access: passwordAccess([
      { user: 'rig', password: 'rig' },
      { user: 'me', password: 'me', permissions },
    ]),
  })
}
const me = { ...eager, user: 'me', password: 'me' }

await describeNats('at the start', (version) => {
  test('a server that is down fails at once, or is waited for', async () => {
    await using server = await startNats({ version })
    await using proxy = await startProxy(server.port)
    await proxy.refuse()
    const url = `nats://127.0.0.1:${proxy.port}`
    expect(await refusal(url)).toMatchObject({ code: 'engine_unavailable', message: expect.stringContaining('is the server running') })
    const begun = performance.now()
    expect((await refusal(url, { ...eager, waitForServer: 300 })).code).toBe('engine_unavailable')
    expect(performance.now() - begun).toBeGreaterThan(290)
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const opening = connect(url, { nats: { ...eager, waitForServer: true } })
    await vi.waitFor(() => expect(warned).toHaveBeenCalledWith(expect.stringContaining('waiting for NATS'), expect.anything()))
    await proxy.accept()
    await using bus = await opening
    expect(warned).toHaveBeenCalledTimes(1)
    warned.mockRestore()
    await roundTrip(bus)
  })

  test('waiting does not hide credentials that are refused', async () => {
    await using server = await startNats({ version, access: passwordAccess() })
    expect((await refusal(server.url, { ...eager, user: 'me', password: 'no', waitForServer: true })).code).toBe('unauthorized')
  })

  test('a server without JetStream, and an account without it, say how to go on', async () => {
    await using without = await startNats({ version, jetstream: false })
    expect(await refusal(without.url, { waitForServer: true })).toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('-js'),
    })
    const config = 'accounts { A { jetstream: enabled, users: [ {user: a, password: a} ] }, B { users: [ {user: b, password: b} ] } }'
    await using server = await startNats({ version, access: { config, client: { user: 'a', pass: 'a' } } })
    expect(await refusal(server.url, { user: 'b', password: 'b' })).toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('jetstream: false'),
    })
  })

  test('no permission for the API of JetStream', async () => {
    await using server = await limited(version, 'publish: { deny: "$JS.API.>" }')
    expect(await refusal(server.url, me)).toMatchObject({ code: 'forbidden', message: expect.stringContaining('$JS.API.INFO') })
  })

  test('a topic that one may not publish to, or not listen to', async () => {
    await using server = await limited(version, 'publish: { deny: "secret.>" }, subscribe: { deny: "secret.>" }')
    await using bus = await connect(server.url, { nats: me })
    await expect(bus.publish('secret.a', 1)).rejects.toMatchObject({ code: 'forbidden', message: expect.stringContaining('secret.a') })
    // Beside it everything goes on.
    await roundTrip(bus)
    await expect(bus.subscribe('secret.a', () => {})).rejects.toMatchObject({
      code: 'forbidden',
      message: expect.stringContaining('secret.a'),
    })
    await expect(bus.respond('secret.ask', { group: 'g' }, () => 1)).rejects.toMatchObject({ code: 'forbidden' })
    await expect(bus.request('secret.ask', 1, { timeout: 3000 })).rejects.toMatchObject({ code: 'forbidden' })
  })

  test('no permission to make a stream', async () => {
    await using server = await limited(version, 'publish: { deny: "$JS.API.STREAM.CREATE.>" }')
    await using bus = await connect(server.url, { nats: me })
    await expect(bus.publish('new.topic', 1)).rejects.toMatchObject({
      code: 'forbidden',
      message: expect.stringContaining('STREAM.CREATE'),
    })
  })

  test("a stream of the topic's name that holds other subjects", async () => {
    await using server = await startNats({ version })
    const admin = await server.connect()
    await admin.request('$JS.API.STREAM.CREATE.taken_topic_STREAM', JSON.stringify({ name: 'taken_topic_STREAM', subjects: ['elsewhere'] }))
    await admin.close()
    await using bus = await connect(server.url)
    await expect(bus.publish('taken.topic', 1)).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining("'elsewhere'") })
  })
})
