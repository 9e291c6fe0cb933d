import { expect, onTestFinished, test } from 'vitest'
import { describeNsq } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'
import { authServer, busAt, busOn, nsqd } from './support.ts'

await describeNsq('a group that gets nothing says why, in health and status', () => {
  test('where its channel takes no more readers, until it does', async () => {
    const node = await nsqd({ maxChannelConsumers: 1 })
    const proxy = await startProxy(node.ports.tcp)
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    const bus = await busAt(`nsq://127.0.0.1:${proxy.port}`, { http: [node.http] })
    const seen: unknown[] = []
    const work = await bus.subscribe('t', { group: 'g' }, ({ body }) => void seen.push(body))
    expect(work.status().trouble).toBeUndefined()
    await proxy.refuse()
    proxy.cut()
    const other = await busOn(node)
    const taking = async () => other.subscribe('t', { group: 'g' }, () => {})
    // nsqd may not have noticed yet that the first one is gone.
    let taken = await taking().catch(() => undefined)
    while (!taken) taken = await taking().catch(() => undefined)
    await proxy.accept()
    await expect.poll(async () => bus.health()).toMatchObject({ ok: false, detail: expect.stringContaining('no more readers') })
    expect(work.status().trouble).toContain('exceeds limit of 1')
    await taken.close()
    await expect.poll(async () => bus.health()).toMatchObject({ ok: true })
    expect(work.status().trouble).toBeUndefined()
    await bus.publish('t', 1)
    await expect.poll(() => seen).toEqual([1])
  })

  test('where its secret allows it no longer to subscribe', async () => {
    const may = (permissions: string[]) => [{ topic: '.*', channels: ['.*'], permissions }]
    const allowed = { me: may(['subscribe', 'publish']) }
    const node = await nsqd({ auth: await authServer(allowed) })
    const proxy = await startProxy(node.ports.tcp)
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    const bus = await busAt(`nsq://127.0.0.1:${proxy.port}`, { http: [node.http], secret: 'me' })
    await bus.subscribe('t', { group: 'g' }, () => {})
    allowed.me = may(['publish'])
    proxy.cut()
    await expect.poll(async () => bus.health()).toMatchObject({ ok: false, detail: expect.stringContaining('does not allow it') })
    allowed.me = may(['subscribe', 'publish'])
    await expect.poll(async () => bus.health()).toMatchObject({ ok: true })
  })
})
