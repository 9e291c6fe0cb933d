import { expect, test } from 'vitest'
import { connect } from '../../src/index.ts'

test('the byte cap refuses more, and loses nothing', async () => {
  await using bus = await connect('memory:', { embedded: { maxBytes: 1000 } })
  await bus.publish('a', new Uint8Array(900))
  await expect(bus.publish('a', new Uint8Array(200))).rejects.toMatchObject({ code: 'store_full' })
  expect((await bus.admin.browse('a')).messages.length).toBe(1)
})
