import { expect, test } from 'vitest'
import { connect } from '../../src/index.ts'

test.each([
  ['a text cut in the middle of a sign', () => new Error(`${'x'.repeat(1999)}🚌`), 'xxx'],
  ['an object without a text', () => Object.create(null), 'a non-error was thrown'],
])('R8: a responder that throws %s answers with its failure at once', async (_, failure, text) => {
  await using bus = await connect('memory:')
  await bus.respond('ask', { group: 'g' }, () => {
    throw failure()
  })
  await expect(bus.request('ask', 1, { timeout: '10s' })).rejects.toThrow(text)
})
