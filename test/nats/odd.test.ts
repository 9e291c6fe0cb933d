import { connect as openSocket } from 'node:net'
import { expect, test, vi } from 'vitest'
import { connect } from '../../src/bus.ts'
import { passwordAccess } from '../rig/access.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

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
})
