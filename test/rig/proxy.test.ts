import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { startProxy, type TcpProxy } from './proxy.ts'

// Gives back what it gets.
const echo = createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => {}).pipe(socket))
beforeAll(() => once(echo.listen(0, '127.0.0.1'), 'listening'))
afterAll(() => void echo.close())

async function through(): Promise<{ proxy: TcpProxy; open: () => Promise<Client> }> {
  const proxy = await startProxy((echo.address() as { port: number }).port)
  onTestFinished(() => proxy.close())
  return { proxy, open: () => open(proxy.port) }
}

interface Client {
  socket: Socket
  got: () => string
  error: () => string | undefined
}

async function open(port: number): Promise<Client> {
  const socket = connect(port, '127.0.0.1').setEncoding('latin1')
  let got = ''
  let error: string | undefined
  socket.on('data', (text: string) => (got += text)).on('error', ({ code }: NodeJS.ErrnoException) => (error = code))
  await once(socket, 'connect')
  onTestFinished(() => void socket.destroy())
  return { socket, got: () => got, error: () => error }
}

const until = (what: () => unknown): Promise<unknown> => vi.waitFor(() => expect(what()).toBeTruthy(), 5000)

test('passes bytes both ways and counts them; an end is an end', async () => {
  const { proxy, open } = await through()
  const { socket, got } = await open()
  socket.end('hello')
  await once(socket, 'close')
  expect(got()).toBe('hello')
  expect(proxy.bytes).toEqual({ up: 5, down: 5 })
  await until(() => proxy.connections.size === 0)
})

test('cut resets one connection or all', async () => {
  const { proxy, open } = await through()
  const first = await open()
  await until(() => proxy.connections.size === 1)
  const [connection] = proxy.connections
  const second = await open()
  connection!.cut()
  await until(() => first.error() === 'ECONNRESET')
  second.socket.write('still here')
  await until(() => second.got() === 'still here')
  proxy.cut()
  await until(() => second.error() === 'ECONNRESET')
})

test('refuses new connections until it accepts again, at the same port', async () => {
  const { proxy, open } = await through()
  const old = await open()
  await until(() => proxy.connections.size === 1)
  await proxy.refuse()
  await expect(open()).rejects.toThrow('ECONNREFUSED')
  old.socket.write('old')
  await until(() => old.got() === 'old')
  await proxy.accept()
  await open()
})

test('a black hole says nothing, and what it held goes on its way afterwards', async () => {
  const { proxy, open } = await through()
  const client = await open()
  proxy.set({ blackhole: true })
  client.socket.write('held')
  await sleep(100)
  expect([client.got(), client.error(), proxy.bytes.up]).toEqual(['', undefined, 0])
  proxy.set({ blackhole: false })
  await until(() => client.got() === 'held')
})

test('ends a connection after so many bytes, which do arrive', async () => {
  const { proxy, open } = await through()
  const client = await open()
  await until(() => proxy.connections.size === 1)
  proxy.cutAfter(3, 'down')
  client.socket.write('hello')
  await once(client.socket, 'close')
  expect(client.got()).toBe('hel')
  expect((await open()).error()).toBe(undefined)
})

test('delays, in order, and caps the rate', async () => {
  const { proxy, open } = await through()
  const client = await open()
  proxy.set({ delayMs: 40, jitterMs: 20 })
  const start = performance.now()
  for (const letter of 'abcdef') {
    client.socket.write(letter)
    await sleep(2)
  }
  await until(() => client.got().length === 6)
  expect(client.got()).toBe('abcdef')
  expect(performance.now() - start).toBeGreaterThan(80)

  proxy.set({ delayMs: 0, jitterMs: 0, bytesPerSecond: 1_000_000 })
  const again = performance.now()
  client.socket.write('x'.repeat(200_000))
  await until(() => client.got().length === 200_006)
  // The last piece of each direction is not waited for.
  expect(performance.now() - again).toBeGreaterThan(120)
})
