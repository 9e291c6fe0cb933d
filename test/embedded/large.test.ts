import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import { expect, onTestFinished, test } from 'vitest'
import type { Reply } from '../../src/engines/embedded/protocol.ts'
import { Database } from '../../src/engines/embedded/store/database.ts'
import { Live } from '../../src/engines/embedded/store/live.ts'
import { Outbox } from '../../src/engines/embedded/store/outbox.ts'
import type { Stored } from '../../src/engines/engine.ts'
import { engine, message, temporary } from './support.ts'

const mib = 1024 * 1024
const large = (count: number, size = 3 * mib) => Array.from({ length: count }, () => message('a', new Uint8Array(size)))

test('R7: what is read without a group comes in pages of at most 8 MiB, whatever the bodies’ sizes', async () => {
  const bus = await engine()
  await bus.publish([...large(5), ...large(1, 9 * mib), ...large(1)])
  const sizes: number[][] = []
  for (let next = 'start'; ; ) {
    const page = await bus.read('a', next, 100)
    if (page.messages.length === 0) break
    sizes.push(page.messages.map(({ body }) => body.byteLength / mib))
    next = page.next
  }
  expect(sizes).toEqual([[3, 3], [3, 3], [3], [9], [3]])
})

test('R7: no more than about 8 MiB is on its way to listeners; the rest is sent once that was taken, and nothing is passed over', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  const db = new Database(dir)
  const { port1, port2 } = new MessageChannel()
  onTestFinished(() => {
    port1.close()
    db.close()
  })
  const flag = new Int32Array(new SharedArrayBuffer(8))
  const out = new Outbox(port1)
  const live = new Live(db, out, flag)
  const told = (): number => {
    live.tell()
    out.send()
    const replies = (receiveMessageOnPort(port2)?.message ?? []) as Extract<Reply, { op: 'live' }>[]
    return replies.reduce((sum, { columns }) => sum + columns.count, 0)
  }
  await bus.publish([message('a', 'before')])
  live.listen(1, 'a')
  await bus.publish(large(8))
  expect([told(), told(), live.hasMore]).toEqual([4, 0, false])
  await bus.publish([message('a', 'meanwhile')])
  flag[1] = 0
  expect([live.hasMore, told(), live.hasMore]).toEqual([true, 4, false])
  flag[1] = 0
  expect([told(), told()]).toEqual([1, 0])
})

test('R7: listeners hear all of what is published in large bodies, in order, from when they came', async () => {
  const dir = temporary()
  const [one, two] = [await engine({ dir }), await engine({ dir })]
  const heard: number[][] = [[], []]
  const listen = (which: number) =>
    one.live!.subscribe('a', (batch: readonly Stored[]) => void heard[which]!.push(...batch.map(({ body }) => body[0]!)))
  await listen(0)
  const body = (i: number) => message('a', new Uint8Array(mib).fill(i))
  await two.publish(Array.from({ length: 30 }, (_, i) => body(i)))
  await listen(1)
  await two.publish(Array.from({ length: 30 }, (_, i) => body(30 + i)))
  await expect.poll(() => heard.map((list) => list.length), { timeout: 20_000 }).toEqual([60, 30])
  expect(heard[0]).toEqual(Array.from({ length: 60 }, (_, i) => i))
  expect(heard[1]).toEqual(heard[0]!.slice(30))
})
