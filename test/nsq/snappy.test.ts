import { once } from 'node:events'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { openNsq } from '../../src/engines/nsq/engine.ts'
import { snappyStreams } from '../../src/engines/nsq/snappy.ts'

/** What comes of the writes, each of which begins in a turn of its own where `apart` says so. */
async function packed(writes: readonly Buffer[], apart: boolean): Promise<Buffer> {
  const { packs } = await snappyStreams()
  const out: Buffer[] = []
  packs.on('data', (piece: Buffer) => out.push(piece))
  if (!apart) packs.cork()
  for (const write of writes) packs.write(write)
  if (!apart) packs.uncork()
  packs.end()
  await once(packs, 'end')
  return Buffer.concat(out)
}

async function unpacked(bytes: Buffer, pieceBytes: number): Promise<Buffer> {
  const { unpacks } = await snappyStreams()
  const out: Buffer[] = []
  unpacks.on('data', (piece: Buffer) => out.push(piece))
  const over = once(unpacks, 'end')
  for (let at = 0; at < bytes.length; at += pieceBytes) unpacks.write(bytes.subarray(at, at + pieceBytes))
  unpacks.end()
  await over
  return Buffer.concat(out)
}

test('what is packed comes out as it was, in whatever pieces it goes and comes', async () => {
  const writes = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.nat(150_000).map((size) => Buffer.alloc(size, 'abcdefg')),
    ),
    {
      minLength: 1,
      maxLength: 6,
    },
  )
  await fc.assert(
    fc.asyncProperty(writes, fc.boolean(), fc.integer({ min: 1, max: 70_000 }), async (all, apart, pieceBytes) => {
      const bytes = all.map((one) => Buffer.from(one))
      const wire = await packed(bytes, apart)
      expect((await unpacked(wire, pieceBytes)).equals(Buffer.concat(bytes))).toBe(true)
    }),
    { numRuns: 60 },
  )
})

test('what others may send beside is passed over; what is broken is an error', async () => {
  const text = 'hello hello hello hello hello hello'
  const hello = await packed([Buffer.from(text)], true)
  const greeting = hello.subarray(0, 10)
  const padding = Buffer.from([0xfe, 3, 0, 0, 1, 2, 3])
  const twice = await unpacked(Buffer.concat([hello, greeting, padding, hello.subarray(10)]), 7)
  expect(String(twice)).toBe(text + text)
  for (const at of [10, 14, 20]) {
    const broken = Buffer.from(hello)
    broken[at]! ^= 0x11
    await expect(unpacked(broken, 1000)).rejects.toThrow(/no Snappy stream/)
  }
})

test('two ways to compress at once are refused', async () => {
  await expect(openNsq('nsq://127.0.0.1:1', { snappy: true, deflate: true })).rejects.toMatchObject({ code: 'invalid_argument' })
})
