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

test.each([{ 'cozebus-error': 'x' }, { 'a b': 'x' }, { a: 'x\r\ny: z' }])(
  'the headers %j of a request are refused as those of a publish are',
  async (headers) => {
    await using bus = await connect('memory:')
    await bus.respond('ask', { group: 'g' }, () => 'answered')
    await expect(bus.request('ask', 1, { headers: headers as {} })).rejects.toMatchObject({ code: 'invalid_message' })
    expect(await bus.request('ask', 1, { headers: { mine: 'x' } })).toBe('answered')
  },
)
