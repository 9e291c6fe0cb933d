import { getEventListeners } from 'node:events'
import { connect as openSocket } from 'node:net'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect as connectNats } from '@nats-io/transport-node'
import { expect, test, vi } from 'vitest'
import { connect } from '../../src/bus.ts'
import { Reject } from '../../src/deliver/outcome.ts'
import { replayStream } from '../../src/engines/nats/names.ts'
import { topic } from '../../src/topic/definition.ts'
import { privateTopic } from '../../src/topic/name.ts'
import { passwordAccess } from '../rig/access.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'
import { eager } from './support.ts'

/** What no client of ours would send. */
async function publishRaw(port: number, subject: string, headers: string, body: string): Promise<void> {
  const socket = openSocket(port, '127.0.0.1')
  const block = `NATS/1.0\r\n${headers}\r\n\r\n`
  const heard = new Promise<void>((resolve, reject) => {
    socket.on('error', reject)
    socket.on('data', (text) => String(text).includes('PONG') && resolve())
  })
  const size = `${block.length} ${block.length + body.length}`
  socket.write(`CONNECT {"verbose":false,"headers":true}\r\nHPUB ${subject} ${size}\r\n${block}${body}\r\nPING\r\n`)
  await heard
  socket.destroy()
}

await describeNats('what others may send or forbid', (version) => {
  test('a message whose headers cannot be read is handed over without them, and those after it too', async () => {
    await using server = await startNats({ version })
    await using bus = await connect(server.url)
    const got: unknown[] = []
    const live: unknown[] = []
    await bus.subscribe('odd.one', { group: 'g', order: 'topic' }, ({ body }) => {
      got.push(body)
    })
    await bus.subscribe('odd.one', ({ body }) => live.push(body))
    await publishRaw(server.port, 'odd.one', 'no token: x', '1')
    await bus.publish('odd.one', 2, { timeout: '5s' })
    await vi.waitFor(() => expect(got).toEqual([1, 2]), 10_000)
    expect(live).toEqual([1, 2])
    const page = await bus.admin.browse('odd.one')
    expect(page.messages).toHaveLength(2)
  })
  test('a member that may not hear the others does not join: it would take for dead who works', async () => {
    const permissions = 'subscribe: { deny: ["$KV.>"] }\n'
    const users = [{ user: 'service', password: 'secret', permissions }]
    await using server = await startNats({ version, access: passwordAccess(users) })
    await using bus = await connect(server.url, { nats: { user: 'service', password: 'secret' } })
    await expect(bus.subscribe('odd.two', { group: 'g' }, () => {})).rejects.toMatchObject({
      code: 'forbidden',
      message: expect.stringContaining('$KV.COZEBUS_OWNERS.>'),
    })
  })
  test("headers of the server's own names are no orders to it, and arrive", async () => {
    await using server = await startNats({ version })
    await using bus = await connect(server.url)
    const got = Promise.withResolvers<unknown>()
    await bus.subscribe('odd.three', { group: 'g' }, ({ headers }) => got.resolve(headers))
    await bus.publish('odd.three', 1, { headers: { 'Nats-Expected-Last-Sequence': '77' } })
    expect(await got.promise).toMatchObject({ 'Nats-Expected-Last-Sequence': '77' })
  })

  test('a publish that the client cannot send is refused at once, not tried until its time is over', async () => {
    await using server = await startNats({ version })
    await using bus = await connect(server.url)
    const headers = { much: 'y'.repeat(5000) }
    await expect(bus.publish('odd.four', Buffer.alloc(1024 * 1024 - 4096), { headers })).rejects.toMatchObject({
      code: 'message_too_large',
    })
    await expect(bus.publish('odd.four', 1, { key: '\ud800' })).rejects.toMatchObject({ code: 'invalid_message' })
  })

  test('a dead letter is kept whole though with its error it is larger than a message may be', async () => {
    await using server = await startNats({ version })
    await using bus = await connect(server.url)
    await bus.subscribe('odd.five', { group: 'g' }, () => {
      throw new Reject('x'.repeat(6000))
    })
    const body = Buffer.alloc(1024 * 1024 - 4096, 7)
    await bus.publish('odd.five', body, { headers: { much: 'y'.repeat(3000) } })
    const desk = bus.admin.deadLetters('odd.five', 'g')
    await vi.waitFor(async () => expect(await desk.count()).toBe(1), 10_000)
    const [letter] = await desk.list({})
    expect(Buffer.compare((await desk.get(letter!.id)).bytes, body)).toBe(0)
    await desk.discard([letter!.id])
    expect(await desk.count()).toBe(0)
    // Nothing of it stays behind.
    const nc = await connectNats(server.clientOptions())
    const { state } = await (await jetstreamManager(nc)).streams.info('OBJ_COZEBUS_BLOBS', { subjects_filter: '>' })
    await nc.close()
    expect(Object.keys(state.subjects ?? {}).filter((subject) => subject.includes('.C.'))).toEqual([])
  })

  test('a topic without a stream is looked for once a batch, not once a message', async () => {
    await using server = await startNats({ version })
    await using bus = await connect(server.url, { nats: { provision: 'off' } })
    const nc = await connectNats(server.clientOptions())
    let asked = 0
    nc.subscribe('$JS.API.STREAM.NAMES', { callback: () => void asked++ })
    await nc.flush()
    const outcomes = await bus.publishMany('odd.six', Array(100).fill(1))
    expect(outcomes.every((outcome) => !outcome.ok && outcome.error.code === 'not_found')).toBe(true)
    await nc.flush()
    await nc.close()
    expect(asked).toBeLessThan(10)
  })

  test('closing does not wait for a server that is away', async () => {
    await using server = await startNats({ version })
    const jobs = topic('odd.{part}.{event}', { key: (job: { id: string }) => job.id })
    const bus = await connect(server.url, { drain: '1s' })
    await bus.subscribe(jobs, { group: 'g' }, () => new Promise((resolve) => setTimeout(resolve, 50)))
    for (let i = 0; i < 50; i++) await bus.publish(jobs.with({ part: '1', event: 'e' }), { id: String(i) })
    await server.kill()
    await vi.waitFor(async () => expect((await bus.health()).ok).toBe(false), 10_000)
    const begun = performance.now()
    await bus.close()
    expect(performance.now() - begun).toBeLessThan(8000)
  })
  test('a replay that comes while the member is away is read once it is back', async () => {
    await using server = await startNats({ version })
    await using proxy = await startProxy(server.port)
    await using bus = await connect(`nats://127.0.0.1:${proxy.port}`, { nats: eager })
    await using desk = await connect(server.url)
    let broken = true
    const handled: unknown[] = []
    await bus.subscribe('odd.seven', { group: 'g' }, ({ body }) => {
      if (broken) throw new Reject('no')
      handled.push(body)
    })
    await bus.publish('odd.seven', 1)
    const letters = desk.admin.deadLetters('odd.seven', 'g')
    await vi.waitFor(async () => expect(await letters.count()).toBe(1), 10_000)
    broken = false
    await proxy.refuse()
    proxy.cut()
    await vi.waitFor(async () => expect((await bus.health()).ok).toBe(false), 10_000)
    await letters.replay({})
    await proxy.accept()
    await vi.waitFor(() => expect(handled).toEqual([1]), 10_000)
  })
  test('a signal that serves many questions keeps nothing of those that are answered', async () => {
    await using server = await startNats({ version })
    await using bus = await connect(server.url)
    await bus.respond('odd.eight', { group: 'g' }, () => 'yes')
    const { signal } = new AbortController()
    for (let i = 0; i < 5; i++) await bus.request('odd.eight', i, { signal })
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  test('nothing is left of a group that is deleted', async () => {
    await using server = await startNats({ version })
    await using bus = await connect(server.url)
    const jobs = topic('odd.{part}.{event}', { key: (job: { id: string }) => job.id })
    const done = Promise.withResolvers<void>()
    const work = await bus.subscribe(jobs, { group: 'g' }, () => done.resolve())
    await bus.publish(jobs.with({ part: '1', event: 'e' }), { id: '1' })
    await done.promise
    await work.close()
    await bus.admin.deleteGroup(jobs, 'g')
    const nc = await connectNats(server.clientOptions())
    const { state } = await (await jetstreamManager(nc)).streams.info('KV_COZEBUS_OWNERS', { subjects_filter: '>' })
    await nc.close()
    expect(Object.keys(state.subjects ?? {})).toEqual([])
  })

  test('a replay that nobody was told of is read all the same, in a while', async () => {
    await using server = await startNats({ version })
    await using bus = await connect(server.url)
    const handled: unknown[] = []
    await bus.subscribe('odd.eight', { group: 'g' }, ({ body }) => void handled.push(body))
    const nc = await connectNats(server.clientOptions())
    const { streams } = await jetstreamManager(nc)
    // What a stream takes from another one is published nowhere.
    await streams.add({ name: 'ELSEWHERE', subjects: ['elsewhere'] })
    const subject_transforms = [{ src: 'elsewhere', dest: privateTopic('odd.eight', 'g') }]
    await streams.update(replayStream, { sources: [{ name: 'ELSEWHERE', subject_transforms }] })
    nc.publish('elsewhere', '8')
    await vi.waitFor(() => expect(handled).toEqual([8]), 25_000)
    await nc.close()
  }, 40_000)
})
