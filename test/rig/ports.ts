import { createServer } from 'node:net'

const given = new Set<number>()

/** Below the range from which systems take the ports of outgoing connections, so that only another listener can come between. */
const range = { from: 20_000, size: 12_000 }

/** Ports of 127.0.0.1 that are free now, and that this process gives out once. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) {
    const port = range.from + Math.floor(Math.random() * range.size)
    if (given.has(port) || !(await isFree(port))) continue
    given.add(port)
    ports.push(port)
  }
  return ports
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })

/** Another process may take a port between our look and the broker's start: then all of it once more, with other ports. */
export async function retryTaken<T>(start: () => Promise<T>): Promise<T> {
  for (let left = 4; ; left--) {
    try {
      return await start()
    } catch (error) {
      if (left === 0 || !/address already in use/i.test(String(error))) throw error
    }
  }
}

/** Made and started, all of it again where one of its ports was taken meanwhile. What does not start is stopped. */
export const started = <T extends { start(): Promise<void>; stop(): Promise<void> }>(make: () => Promise<T>): Promise<T> =>
  retryTaken(async () => {
    const server = await make()
    try {
      await server.start()
    } catch (error) {
      await server.stop()
      throw error
    }
    return server
  })
