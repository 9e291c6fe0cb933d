import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttp } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { makeCertificates } from '../rig/certificates.ts'
import { describeNsq } from '../rig/needs.ts'
import { startNsqd, startNsqlookupd } from '../rig/nsq.ts'
import { freePorts } from '../rig/ports.ts'
import { startProxy } from '../rig/proxy.ts'
import { authServer, busAt, busOn, eager, nsqd, refusal, roundTrip } from './support.ts'

await describeNsq('connections to nsqd', () => {
  describe('TLS', () => {
    test('with a ca of one’s own, and with a certificate of the client where it is asked for', async () => {
      const certificates = await makeCertificates()
      onTestFinished(() => certificates.remove())
      const node = await nsqd({ tls: { certificates, required: true } })
      await roundTrip(await busOn(node, { tls: { ca: certificates.ca } }))
      const strict = await nsqd({ tls: { certificates, required: true, verify: true } })
      const { ca, clientCert: cert, clientKey: key } = certificates.paths
      await roundTrip(await busOn(strict, { tls: { ca, cert, key } }))
      expect((await refusal(strict.url, { tls: { ca } })).message).toMatch(/TLS|closed the connection|alert/)
    })

    test('an authority that is not known is refused, and so is the wrong name', async () => {
      const certificates = await makeCertificates({ names: ['elsewhere.example'], ips: ['127.0.0.9'] })
      onTestFinished(() => certificates.remove())
      const node = await nsqd({ tls: { certificates } })
      expect((await refusal(node.url, { tls: {} })).message).toMatch(/TLS failed/)
      expect((await refusal(node.url, { tls: { ca: certificates.ca } })).message).toMatch(/TLS failed.*127\.0\.0\.1/)
      await roundTrip(await busOn(node, { tls: { ca: certificates.ca, serverName: 'elsewhere.example' } }))
    })

    test('its HTTPS side too is asked by the name in the certificate', async () => {
      const certificates = await makeCertificates({ names: ['elsewhere.example'], ips: ['127.0.0.9'] })
      onTestFinished(() => certificates.remove())
      const node = await nsqd({ tls: { certificates } })
      const http = [`https://127.0.0.1:${node.ports.https}`]
      for (const serverName of ['elsewhere.example', '127.0.0.9']) {
        const bus = await busAt(node.url, { http, tls: { ca: certificates.ca, serverName } })
        expect(await bus.admin.topics()).toEqual([])
      }
    })

    test('an nsqd without it is refused, and one that wants it says so at the first use', async () => {
      expect(await refusal((await nsqd()).url, { tls: {} })).toMatchObject({ code: 'unsupported' })
      const certificates = await makeCertificates()
      onTestFinished(() => certificates.remove())
      const bus = await busOn(await nsqd({ tls: { certificates, required: true } }))
      await expect(bus.publish('t', 1)).rejects.toMatchObject({
        code: 'unauthorized',
        message: expect.stringContaining('nsq: { tls: {} }'),
      })
    })

    test.each(['deflate', 'snappy'])('together with %s', async (compression) => {
      const certificates = await makeCertificates()
      onTestFinished(() => certificates.remove())
      await roundTrip(await busOn(await nsqd({ tls: { certificates } }), { tls: { ca: certificates.ca }, [compression]: true }))
    })
  })

  test.each([
    ['deflate', 6],
    ['snappy', true],
  ] as const)('%s: less on the wire, all of it there; an nsqd without it is refused', async (compression, value) => {
    const node = await nsqd()
    const proxy = await startProxy(node.ports.tcp)
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    const bus = await busAt(`nsq://127.0.0.1:${proxy.port}`, { http: [node.http], [compression]: value })
    const texts: string[] = []
    await bus.subscribe('long', { group: 'g' }, ({ body }) => void texts.push(body as string))
    const long = 'the same again and again '.repeat(4000)
    await bus.publishMany(
      'long',
      Array.from({ length: 20 }, (_, i) => `${i}: ${long}`),
    )
    await expect.poll(() => texts.length).toBe(20)
    expect(new Set(texts)).toEqual(new Set(Array.from({ length: 20 }, (_, i) => `${i}: ${long}`)))
    expect(proxy.bytes.up + proxy.bytes.down).toBeLessThan(long.length * 4)
    // What becomes no smaller goes as it is.
    const noise = randomBytes(300_000)
    const got = Promise.withResolvers<Uint8Array>()
    await bus.subscribe('noise', { group: 'g' }, ({ bytes }) => got.resolve(bytes))
    await bus.publish('noise', noise)
    expect(Buffer.from(await got.promise).equals(noise)).toBe(true)
    expect(await refusal((await nsqd({ [compression]: false })).url, { [compression]: true })).toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining(`nsq.${compression}`),
    })
  })

  test('a secret opens, by option, function or address; none or a wrong one is refused, and what it does not allow is forbidden', async () => {
    const rights = [{ topic: 'mine.*', channels: ['.*'], permissions: ['subscribe', 'publish'] }]
    const node = await nsqd({
      auth: await authServer({ open: [{ topic: '.*', channels: ['.*'], permissions: ['subscribe', 'publish'] }], some: rights }),
    })
    await roundTrip(await busOn(node, { secret: 'open' }))
    await roundTrip(await busOn(node, { secret: () => 'open' }))
    await roundTrip(await busAt(node.url.replace('nsq://', 'nsq://open@'), { http: [node.http] }))
    expect(await refusal(node.url)).toMatchObject({ code: 'unauthorized', message: expect.stringContaining('nsq: { secret }') })
    const wrong = await refusal(node.url.replace('nsq://', 'nsq://sesame@'))
    expect(wrong.code).toBe('unauthorized')
    expect(`${wrong.message} ${wrong.stack}`).not.toContain('sesame')

    const bus = await busOn(node, { secret: 'some' })
    await bus.publish('mine.a', 1)
    await expect(bus.publish('theirs', 1)).rejects.toMatchObject({ code: 'forbidden' })
    await expect(bus.subscribe('theirs', { group: 'g' }, () => {})).rejects.toMatchObject({ code: 'forbidden' })
    await bus.publish('mine.a', 2)
  })

  test('what stands before the @ of an HTTP address is sent, and shown by no error', async () => {
    const node = await nsqd()
    let sent: string | undefined
    const server = createHttp((asked, answer) => {
      sent = asked.headers.authorization
      answer.writeHead(503).end('closed')
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const { port } = server.address() as AddressInfo
    const [nobody] = await freePorts(1)
    for (const address of [`http://ann:sesame@127.0.0.1:${port}`, `ann:sesame@127.0.0.1:${nobody}`]) {
      const bus = await busAt(node.url, { http: [address] })
      const error = await bus.admin.topics().catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'engine_unavailable', message: expect.stringContaining('127.0.0.1') })
      expect(inspect(error, { depth: null })).not.toContain('sesame')
    }
    expect(sent).toBe(`Basic ${btoa('ann:sesame')}`)
    const misspelt = await refusal(node.url, { http: ['http://ann:sesame@127.0.0.1:port'] })
    expect(misspelt.code).toBe('invalid_argument')
    expect(inspect(misspelt, { depth: null })).not.toContain('sesame')
  })

  describe('the wrong port', () => {
    test('HTTP of nsqd or nsqlookupd, and TCP of nsqlookupd, are named for what they are', async () => {
      const [node, lookup] = [await nsqd(), await startNsqlookupd()]
      onTestFinished(() => lookup.stop())
      for (const address of [node.http, lookup.http])
        expect(await refusal(`nsq://${address}`)).toMatchObject({
          code: 'invalid_argument',
          message: expect.stringMatching(/HTTP server.*4150/),
        })
      expect(await refusal(`nsq://${lookup.tcp}`)).toMatchObject({
        code: 'invalid_argument',
        message: expect.stringMatching(/nsqlookupd.*nsq\+lookup/),
      })
      expect(await refusal(`nsq+lookup://${node.http}`)).toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining('nsq://'),
      })
      expect(await refusal(`nsq+lookup://${lookup.tcp}`)).toMatchObject({ message: expect.stringContaining('4161') })
    })

    test('noise, and silence', async () => {
      for (const [say, expected] of [
        ['no frame at all: SSH-2.0-OpenSSH_9.6', /no nsqd speaks so/],
        ['', /did not answer in 300 ms/],
      ] as const) {
        const server = createServer((socket) => {
          socket.on('error', () => {})
          if (say !== '') socket.write(say)
        })
        server.listen(0, '127.0.0.1')
        await once(server, 'listening')
        onTestFinished(() => void server.close())
        const { port } = server.address() as AddressInfo
        expect((await refusal(`nsq://127.0.0.1:${port}`, { connectTimeoutMs: 300 })).message).toMatch(expected)
      }
    })
  })

  test('nobody there is an error at once, or waited for; a secret that is refused is not', async () => {
    const [port] = await freePorts(1)
    const url = `nsq://127.0.0.1:${port}`
    expect(await refusal(url)).toMatchObject({ code: 'engine_unavailable', message: expect.stringContaining(`127.0.0.1:${port}`) })
    expect((await refusal(url, { ...eager, waitForServer: 300 })).code).toBe('engine_unavailable')

    const node = await nsqd()
    const proxy = await startProxy(node.ports.tcp)
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    await proxy.refuse()
    const waiting = connect(`nsq://127.0.0.1:${proxy.port}`, {
      ledger: memoryLedger(),
      nsq: { ...eager, http: [node.http], waitForServer: true },
    })
    await sleep(300)
    await proxy.accept()
    await using bus = await waiting
    await roundTrip(bus)
  })

  test('after a kill and a return publishing and reading go on, and what was queued on disk comes', async () => {
    const node = await nsqd({ memoryQueue: 0, syncEvery: 1 })
    const bus = await busOn(node)
    const seen: number[] = []
    const first = await bus.subscribe('t', { group: 'g' }, ({ body }) => void seen.push(body as number))
    await first.close()
    for (const n of [1, 2, 3]) await bus.publish('t', n)
    // nsqd syncs what it wrote before with the next that it writes: the last of these may be lost, and no other.
    await expect.poll(async () => bus.admin.lag('t', 'g')).toBe(3)
    await bus.publish('t', 0)
    await expect.poll(async () => bus.admin.lag('t', 'g')).toBe(4)
    await node.kill()
    await expect.poll(async () => (await bus.health()).ok).toBe(false)
    const late = bus.publish('t', 4)
    await node.start()
    await late
    await expect.poll(async () => (await bus.health()).ok).toBe(true)
    await bus.subscribe('t', { group: 'g' }, ({ body }) => void seen.push(body as number))
    await expect.poll(() => [...new Set(seen)].filter((n) => n !== 0).sort()).toEqual([1, 2, 3, 4])
  })

  test('a handler that runs while its nsqd is killed or restarted finishes, and its message does not come again', async () => {
    const node = await nsqd()
    const bus = await busOn(node)
    let runs = 0
    const gate = Promise.withResolvers<void>()
    await bus.subscribe('t', { group: 'g' }, async () => {
      runs++
      await gate.promise
    })
    await bus.publish('t', 1)
    await expect.poll(() => runs).toBe(1)
    await node.restart('SIGTERM')
    await expect.poll(async () => (await bus.admin.group('t', 'g')).inHand).toBe(1)
    gate.resolve()
    await expect.poll(async () => bus.admin.lag('t', 'g')).toBe(0)
    expect(runs).toBe(1)
  })

  test('work that ended while nsqd was away is not done again when its message comes back', async () => {
    const node = await nsqd()
    const bus = await busOn(node)
    let runs = 0
    const gate = Promise.withResolvers<void>()
    const work = await bus.subscribe('t', { group: 'g' }, async () => {
      runs++
      await gate.promise
    })
    await bus.publish('t', 1)
    await expect.poll(() => runs).toBe(1)
    await node.kill('SIGTERM')
    gate.resolve()
    await expect.poll(() => work.status().inHand).toBe(0)
    await node.start()
    await expect.poll(async () => bus.admin.lag('t', 'g')).toBe(0)
    expect(runs).toBe(1)
  })

  // What it reads again it counts from one.
  test('an nsqd that has not written down how far it had read gives all of it again: what is done or at work here is not done twice', async () => {
    const node = await nsqd({ memoryQueue: 0, syncEvery: 1_000_000, syncTimeoutMs: 3_600_000 })
    const bus = await busOn(node)
    const runs: Record<string, number> = {}
    const gate = Promise.withResolvers<void>()
    const handle = async ({ body }: { body: unknown }): Promise<void> => {
      runs[body as string] = (runs[body as string] ?? 0) + 1
      if (body === 'long') await gate.promise
    }
    await (await bus.subscribe('t', { group: 'g' }, handle)).close()
    for (const body of ['a', 'b', 'long', 'c']) await bus.publish('t', body)
    await node.restart('SIGTERM')
    const work = await bus.subscribe('t', { group: 'g' }, handle)
    await expect.poll(() => [work.status().handled, work.status().inHand]).toEqual([3, 1])
    await node.kill()
    await node.start()
    await expect.poll(async () => (await bus.health()).ok).toBe(true)
    await bus.publish('t', 'after')
    await expect.poll(() => runs['after']).toBe(1)
    await expect.poll(async () => (await bus.admin.group('t', 'g')).inHand).toBe(1)
    gate.resolve()
    await expect.poll(async () => bus.admin.lag('t', 'g')).toBe(0)
    expect(runs).toEqual({ a: 1, b: 1, long: 1, c: 1, after: 1 })
  })

  test('what is delayed is not early when nsqd was started again meanwhile', async () => {
    const node = await nsqd()
    const bus = await busOn(node)
    const at: number[] = []
    await bus.subscribe('t', { group: 'g' }, () => void at.push(Date.now()))
    const due = Date.now() + 4000
    await bus.publish('t', 1, { deliverAt: new Date(due) })
    await node.restart('SIGTERM')
    await expect.poll(() => at.length, { timeout: 20_000 }).toBe(1)
    expect(at[0]).toBeGreaterThanOrEqual(due)
  })

  for (const askable of [true, false])
    test(`an nsqd that was killed counts from one: what failed before goes on with its attempts all the same${askable ? '' : ', also where its HTTP side cannot be asked'}`, async () => {
      const node = await nsqd({ memoryQueue: 0, syncEvery: 1_000_000, syncTimeoutMs: 3_600_000 })
      const [nobody] = await freePorts(1)
      const bus = await busOn(node, askable ? {} : { http: [`127.0.0.1:${nobody}`] })
      const attempts: number[] = []
      let over = false
      const options = { group: 'g', retry: { attempts: 20, initial: 20, max: 20 } } as const
      const handle = (_: unknown, { attempt }: { attempt: number }): void => {
        attempts.push(attempt)
        if (!over) throw new Error('not yet')
      }
      await (await bus.subscribe('t', options, handle)).close()
      await bus.publish('t', 1)
      await node.restart('SIGTERM')
      await expect.poll(async () => (await bus.health()).ok).toBe(true)
      await bus.subscribe('t', options, handle)
      await expect.poll(() => attempts.length).toBeGreaterThan(2)
      await node.kill()
      const before = attempts.length
      over = true
      await node.start()
      await expect.poll(() => attempts.length).toBeGreaterThan(before)
      // What it read again of its disk may come more than once; the first of it tells.
      expect(attempts.slice(0, before + 1)).toEqual(Array.from({ length: before + 1 }, (_, i) => i + 1))
    })

  test('an nsqd that gathers for longer than we ask is used as it is; one that wants signs of life more often names the option', async () => {
    await roundTrip(await busOn(await nsqd({ minOutputBufferMs: 100 })))
    expect(await refusal((await nsqd({ maxHeartbeatMs: 5000 })).url)).toMatchObject({
      code: 'invalid_argument',
      message: expect.stringMatching(/nsq\.heartbeatMs.*heartbeat interval \(10000\) is invalid/),
    })
  })

  test('what needs the HTTP side names the option where it is not there', async () => {
    const node = await nsqd()
    const [nobody] = await freePorts(1)
    const bus = await busOn(node, { http: [`127.0.0.1:${nobody}`] })
    await expect(bus.subscribe('docs.>', { group: 'g' }, () => {})).rejects.toMatchObject({
      code: 'engine_unavailable',
      message: expect.stringContaining('nsq.http'),
    })
  })

  test('a publish that was sent and not answered is unknown, not refused, and not sent again', async () => {
    const node = await nsqd()
    const proxy = await startProxy(node.ports.tcp)
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    const bus = await busAt(`nsq://127.0.0.1:${proxy.port}`, { http: [node.http] })
    await bus.publish('t', 0)
    proxy.set({ blackhole: true })
    const sent = expect(bus.publish('t', 1)).rejects.toMatchObject({ code: 'publish_unknown' })
    await sleep(100)
    proxy.cut()
    await sent
    proxy.set({ blackhole: false })
    await bus.publish('t', 2)
    expect((await bus.admin.topics()).find(({ storage }) => storage === 't')?.messages).toBe(2)
  })

  test('a bad frame ends its connection with an error, and the engine comes back', async () => {
    const node = await nsqd()
    let bad = false
    const evil = createServer((client) => {
      const up = import('node:net').then(({ connect: dial }) => {
        const upstream = dial(node.ports.tcp, '127.0.0.1')
        for (const socket of [client, upstream]) socket.on('error', () => {})
        client.pipe(upstream)
        upstream.on('data', (chunk) => client.write(bad ? Buffer.alloc(64, 0xff) : chunk))
        upstream.on('close', () => client.destroy())
        client.on('close', () => upstream.destroy())
      })
      void up
    })
    evil.listen(0, '127.0.0.1')
    await once(evil, 'listening')
    onTestFinished(() => void evil.close())
    const bus = await busAt(`nsq://127.0.0.1:${(evil.address() as AddressInfo).port}`, { http: [node.http] })
    const seen: unknown[] = []
    await bus.subscribe('t', { group: 'g', lease: '1s' }, ({ body }) => void seen.push(body))
    bad = true
    await expect(bus.publish('t', 'lost answer', { timeout: '1s' })).rejects.toMatchObject({ code: 'publish_unknown' })
    bad = false
    await bus.publish('t', 'after')
    await expect.poll(() => seen).toContain('after')
  })
})

await describeNsq('several nsqds', () => {
  test('all are read, one that is killed is no trouble for publishing, and comes back', async () => {
    const nodes = [await nsqd({ id: 1 }), await nsqd({ id: 2 }), await nsqd({ id: 3 })]
    const url = `nsq://${nodes.map(({ tcp }) => tcp).join(',')}`
    const bus = await busAt(url, { http: nodes.map(({ http }) => http) })
    const seen = new Set<unknown>()
    await bus.subscribe('t', { group: 'g', concurrency: 1 }, ({ body }) => void seen.add(body))
    for (const node of nodes) await node.publish('t', JSON.stringify(node.tcp))
    await expect.poll(() => seen.size).toBe(3)
    for (const node of nodes) {
      await node.kill()
      // Before that it may be sent to a dead one, and is unknown.
      await expect.poll(async () => (await bus.health()).detail).toContain(`${node.tcp} is away`)
      await bus.publish('t', `without ${node.tcp}`)
      await node.start()
      await expect.poll(async () => (await bus.health()).detail).not.toContain('away')
    }
    await expect.poll(() => seen.size).toBe(6)
    for (const node of nodes) await node.publish('t', JSON.stringify(`again ${node.tcp}`))
    await expect.poll(() => seen.size).toBe(9)
  })

  test('a member that is busy leaves what it cannot take to others, whatever nsqd it is on', async () => {
    const nodes = [await nsqd({ id: 1 }), await nsqd({ id: 2 })]
    const url = `nsq://${nodes.map(({ tcp }) => tcp).join(',')}`
    const http = nodes.map((node) => node.http)
    const [a, b] = [await busAt(url, { http }), await busAt(url, { http })]
    const gate = Promise.withResolvers<void>()
    let begun = 0
    await a.subscribe('t', { group: 'g', concurrency: 1 }, async () => {
      begun++
      await gate.promise
    })
    for (let i = 0; i < 6; i++) for (const node of nodes) await node.publish('t', String(i))
    await expect.poll(() => begun).toBe(1)
    let done = 0
    await b.subscribe('t', { group: 'g', concurrency: 2 }, () => void done++)
    await expect.poll(() => done).toBe(11)
    gate.resolve()
  })
})

await describeNsq('nsqds found by nsqlookupd', () => {
  test('nsqds, topics and groups are found, and those that come later; every group gets the first message', async () => {
    const lookup = await startNsqlookupd()
    onTestFinished(() => lookup.stop())
    await nsqd({ lookupd: [lookup.tcp], id: 1 })
    await expect.poll(() => lookup.ask('/nodes')).toContain('tcp_port')
    expect(await refusal(lookup.url, { http: [lookup.http] })).toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('nsq.http'),
    })
    const bus = await busAt(lookup.url)
    const seen: Record<string, unknown[]> = { one: [], two: [] }
    for (const group of ['one', 'two']) await bus.subscribe('t', { group }, ({ body }) => void seen[group]!.push(body))
    await bus.publish('t', 1)
    await expect.poll(() => seen).toEqual({ one: [1], two: [1] })

    const second = await startNsqd({ lookupd: [lookup.tcp], id: 2 })
    onTestFinished(() => second.stop())
    // Before it knows nsqlookupd it makes the topic without the groups registered there.
    await expect.poll(() => second.logs()).toContain('peer info')
    await second.publish('t', '2')
    await expect.poll(() => seen).toEqual({ one: [1, 2], two: [1, 2] })
    expect((await bus.admin.groups('t')).map(({ group }) => group).sort()).toEqual(['one', 'two'])
  })

  test('one lookup daemon that is away is no trouble, and none at all no trouble for those that are known', async () => {
    const [one, two] = [await startNsqlookupd(), await startNsqlookupd()]
    onTestFinished(() => two.stop())
    await nsqd({ lookupd: [one.tcp, two.tcp] })
    for (const lookup of [one, two]) await expect.poll(() => lookup.ask('/nodes')).toContain('tcp_port')
    const bus = await busAt(`nsq+lookup://${one.http},${two.http}`)
    await one.stop()
    await roundTrip(bus)
    const seen: unknown[] = []
    await bus.subscribe('t', { group: 'g' }, ({ body }) => void seen.push(body))
    await two.kill()
    await bus.publish('t', 1)
    await expect.poll(() => seen).toEqual([1])
    await expect.poll(async () => (await bus.health()).detail).toContain('no nsqlookupd answers')
    await two.start()
    await expect.poll(async () => (await bus.health()).detail).not.toContain('no nsqlookupd answers')
  })

  test('without any nsqd connecting says what is missing', async () => {
    const lookup = await startNsqlookupd()
    onTestFinished(() => lookup.stop())
    expect((await refusal(lookup.url)).message).toContain('--lookupd-tcp-address')
  })
})
