import { expect, test, vi } from 'vitest'
import { type Bus, connect } from '../../src/bus.ts'
import { jwtAccess, nkeyAccess, passwordAccess, tokenAccess } from '../rig/access.ts'
import { startCluster } from '../rig/cluster.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'
import { eager, folder, refusal, roundTrip } from './support.ts'

const place = folder()

async function health(bus: Bus, ok: boolean, detail: RegExp): Promise<void> {
  await vi.waitFor(async () => expect(await bus.health()).toMatchObject({ ok, detail: expect.stringMatching(detail) }), {
    timeout: 15_000,
    interval: 20,
  })
}

await describeNats('a connection that lives on', (version) => {
  test('credentials that are refused turn health red and end nothing; renewed ones are read and used', async () => {
    const access = nkeyAccess()
    const path = place.file('rotated.nk', access.seed)
    await using server = await startNats({ version, access })
    await using bus = await connect(server.url, { nats: { ...eager, nkey: path } })
    await roundTrip(bus)
    const renewed = nkeyAccess()
    await server.reload({ access: renewed })
    await health(bus, false, /refuses the credentials/)
    // Half written by whoever renews it: what was there before is used, and the connection is not given up.
    place.file('rotated.nk', renewed.seed.slice(0, 20))
    const waiting = bus.publish('while.red', 1)
    place.file('rotated.nk', renewed.seed)
    await health(bus, true, /again/)
    expect(await waiting).toMatchObject({ topic: 'while.red' })
    await roundTrip(bus)
  })

  test.each([
    ['a password', 'password' as const],
    ['a token', 'token' as const],
    ['a .creds file', 'creds' as const],
  ])('%s is asked for again at each connect', async (_, kind) => {
    const jwt = await jwtAccess()
    const shortLived = kind === 'creds' ? await jwt.issue({ expires: Math.floor(Date.now() / 1000) + 3 }) : undefined
    const accessOf = (secret: string) =>
      kind === 'creds' ? jwt : kind === 'token' ? tokenAccess(secret) : passwordAccess([{ user: 'me', password: secret }])
    let current = 'first'
    const path = place.file('short.creds', shortLived?.creds ?? '')
    await using server = await startNats({ version, access: accessOf(current) })
    const options = { password: { user: 'me', password: () => current }, token: { token: () => current }, creds: { creds: path } }[kind]
    await using bus = await connect(server.url, { nats: { ...eager, ...options } })
    // The JWT runs out by itself; the others are changed on the server.
    if (kind !== 'creds') await server.reload({ access: accessOf('second') })
    await health(bus, false, /credentials|expired|lost/)
    current = 'second'
    place.file('short.creds', jwt.creds)
    await health(bus, true, /again/)
    await roundTrip(bus)
  })

  test('attempts that are used up end it, and say so; without a limit it waits for the server', async () => {
    await using server = await startNats({ version })
    await using proxy = await startProxy(server.port)
    const url = `nats://127.0.0.1:${proxy.port}`
    await using patient = await connect(url, { nats: eager })
    await using bus = await connect(url, { nats: { ...eager, reconnectAttempts: 2 } })
    await proxy.refuse()
    proxy.cut()
    await health(bus, false, /after 2 attempts .*connect again/)
    await expect(bus.publish('gone', 1)).rejects.toMatchObject({ code: 'closed', message: expect.stringContaining('connect again') })
    await health(patient, false, /trying again/)
    await proxy.accept()
    await health(patient, true, /again/)
  })

  test('wait and jitter lie between attempts', async () => {
    await using server = await startNats({ version })
    await using proxy = await startProxy(server.port)
    await using bus = await connect(`nats://127.0.0.1:${proxy.port}`, { nats: { reconnectWaitMs: 600, reconnectJitterMs: 0 } })
    // It comes back at once, as its last connect is long enough ago; cut again it has to wait.
    const back = async (): Promise<number> => {
      const begun = performance.now()
      proxy.cut()
      await health(bus, false, /lost/)
      await health(bus, true, /again/)
      return performance.now() - begun
    }
    await back()
    expect(await back()).toBeGreaterThan(400)
  })

  test('a peer that is silent is noticed by pings', async () => {
    await using server = await startNats({ version })
    await using proxy = await startProxy(server.port)
    await using bus = await connect(`nats://127.0.0.1:${proxy.port}`, { nats: { ...eager, connectTimeoutMs: 500, pingIntervalMs: 150 } })
    proxy.set({ blackhole: true })
    await health(bus, false, /does not answer|lost/)
    proxy.set({ blackhole: false })
    proxy.cut()
    await health(bus, true, /again/)
  })

  test('one address is enough to learn the cluster; from a lame duck it goes away before the end', async () => {
    await using cluster = await startCluster({ version })
    const [seed] = cluster.nodes
    await using bus = await connect(seed!.url, { nats: { ...eager, replicas: 3, reconnectJitterMs: 50 } })
    await roundTrip(bus, 'clustered')
    let alive = true
    void seed!.exited.then(() => (alive = false))
    seed!.signal('SIGUSR2')
    await health(bus, true, /again/)
    expect(alive).toBe(true)
    await seed!.kill()
    await cluster.nodes[1]!.kill('SIGKILL')
    await cluster.nodes[1]!.restart()
    await health(bus, true, /again/)
    await vi.waitFor(() => roundTrip(bus, 'clustered'), { timeout: 30_000, interval: 500 })
  }, 90_000)

  test('a list: one that is there is enough, in any order; all of them are known afterwards', async () => {
    await using one = await startNats({ version })
    await using proxy = await startProxy(one.port)
    await using dead = await startProxy(one.port)
    await dead.refuse()
    const url = `nats://127.0.0.1:${dead.port},127.0.0.1:${proxy.port}`
    await using bus = await connect(url, { nats: eager })
    await dead.accept()
    await proxy.refuse()
    proxy.cut()
    await health(bus, true, new RegExp(`${dead.port} again`))
    await roundTrip(bus)
  })

  test('where nobody lets it in, each server is named with its reason', async () => {
    await using server = await startNats({ version, access: passwordAccess() })
    await using silent = await startProxy(server.port)
    silent.set({ blackhole: true })
    await using gone = await startProxy(server.port)
    await gone.refuse()
    const error = await refusal(`nats://127.0.0.1:${silent.port},127.0.0.1:${gone.port},no-such-host.invalid`, { connectTimeoutMs: 500 })
    expect(error.code).toBe('engine_unavailable')
    expect(error.message).toContain(`127.0.0.1:${silent.port}: it accepts and says nothing for 500 ms`)
    expect(error.message).toContain(`127.0.0.1:${gone.port}: connection refused; is the server running`)
    expect(error.message).toMatch(/no-such-host\.invalid:4222: (the name no-such-host\.invalid is not known|no answer within)/)
  })
})
