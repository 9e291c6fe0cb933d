import { expect, test } from 'vitest'
import { describeNsq } from '../rig/needs.ts'
import { busOn, nsqd } from './support.ts'

await describeNsq('what others write', () => {
  const begin = '{"specversion":"1.0","cozebus":"1","id":"i","source":"s","type":"odd","time":"2026-11-25T03:00:00.000Z"'

  // A throw at that place would end the process, and the message would come again to the next one.
  test.each([
    [`${begin},"cozebusheaders":"\\"text\\"","traceparent":"t","data":1}`],
    [`${begin},"cozebusheaders":"null","data":1}`],
    [`${begin},"cozebusheaders":"{\\"a\\":1}","data":1}`],
    [`${begin},"partitionkey":7,"data":1}`],
    [`${begin},"traceparent":{"a":1},"data":1}`],
    [`${begin},"cozebusfence":"1","cozebusholder":"other","cozebusheld":"never","data":1}`],
    [`${begin},"cozebusfence":"x","data":1}`],
    ['{"specversion":"1.0","cozebus":"1","id":"i","type":"odd","time":1,"data":1}'],
  ])('R12: %s is delivered as anybody’s body', async (text) => {
    const node = await nsqd()
    const bus = await busOn(node)
    const got: { body: unknown; id: string }[] = []
    await bus.subscribe('odd', { group: 'g', order: 'key', orderScope: 'process' }, ({ body, id }) => void got.push({ body, id }))
    await node.publish('odd', text)
    await expect.poll(() => got.map(({ body }) => body), { timeout: 4000 }).toEqual([JSON.parse(text)])
    expect(got[0]!.id).not.toBe('i')
  })
})
