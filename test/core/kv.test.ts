import { expect, test } from 'vitest'
import { connect } from '../../src/index.ts'

test('a value that could not be read again is refused when it is put', async () => {
  await using bus = await connect('memory:')
  const kv = await bus.kv('bucket')
  for (const value of [new Uint8Array([1, 2]), undefined, () => {}])
    await expect(kv.put('key', value)).rejects.toMatchObject({ code: 'invalid_message' })
  expect(await kv.get('key')).toBeUndefined()
})
