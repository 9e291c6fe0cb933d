import { expect, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import {
  appEvents,
  cozeCodec,
  type KnowledgeEvent,
  knowledgeEvent,
  knowledgeJobs,
  type ResourceEvent,
  resourceEvents,
} from '../../src/coze/index.ts'

// As Coze's Go services write them.
const meta = '"meta":{"send_time_ms":1774425512123,"receive_time_ms":1774425512124},"extra":null'
const samples = {
  resource: `{"op_type":"updated","resource_document":{"res_id":7621099543744036864,"res_type":1,"publish_status":2,"update_time":1774425512123,"publish_time":1774425512123},${meta}}`,
  app: `{"op_type":"updated","project_document":{"id":7621099543744036864,"type":1,"update_time":1774425512123,"fav_time":1774425512123,"is_fav":1},${meta}}`,
  deletion:
    '{"Type":"delete_knowledge_data","Documents":null,"Document":null,"Slice":null,"SliceIDs":[7621099543744036864],"KnowledgeID":7621099543744053248,"DocumentReview":null}',
  slice:
    '{"Type":"index_slice","Documents":null,"Document":null,"Slice":{"ID":7621099543744036865,"Name":"","CreatorID":3,"AppID":0,"CreatedAtMs":1774425512123,"KnowledgeID":7621099543744053249,"DocumentID":7621099543744053251,"RawContent":[{"Type":2,"Text":null,"Image":null,"Table":{"Columns":[{"ColumnID":7621099543744053253,"ColumnName":"<a&b> é\\n","Type":4,"ValInteger":9223372036854775807,"ValNumber":0.1}]}}],"Hit":0,"Extra":null},"SliceIDs":[],"KnowledgeID":0,"DocumentReview":null}',
}
const read = (text: string): any => cozeCodec.decode(Buffer.from(text))
const written = (body: unknown): string => Buffer.from(cozeCodec.encode(body)).toString()

for (const [name, sample] of Object.entries(samples))
  test(`the sample '${name}' is the same bytes after reading and writing`, () => expect(written(read(sample))).toBe(sample))

test('ids are bigints, the small ones too; times and counts are numbers', () => {
  const event: KnowledgeEvent = read(samples.slice)
  expect(event.KnowledgeID).toBe(0n)
  expect(event.Slice).toMatchObject({ ID: 7621099543744036865n, CreatorID: 3n, CreatedAtMs: 1774425512123, Hit: 0 })
  expect(event.Slice!.RawContent![0]!.Table!.Columns![0]).toMatchObject({ ValInteger: 9223372036854775807n, ValNumber: 0.1 })
  expect((read(samples.deletion) as KnowledgeEvent).SliceIDs).toEqual([7621099543744036864n])
  expect((read('{"SliceIDs":[1,7621099543744036865]}') as KnowledgeEvent).SliceIDs).toEqual([1n, 7621099543744036865n])
  expect((read(samples.resource) as ResourceEvent).resource_document).toMatchObject({ res_id: 7621099543744036864n, res_type: 1 })
})

test('an event of ours has the fields and the order of Go', () => {
  const event = knowledgeEvent('delete_knowledge_data', { SliceIDs: [7621099543744036864n], KnowledgeID: 7621099543744053248n })
  expect(written(event)).toBe(samples.deletion)
})

test('the three topics: what is read is typed and exact, what is published is checked', async () => {
  await using bus = await connect('memory:')
  const got: unknown[] = []
  await bus.subscribe(
    knowledgeJobs,
    { group: 'cg_knowledge' },
    ({ body, bytes }) => void got.push([body.KnowledgeID, Buffer.from(bytes).toString()]),
  )
  await bus.publish(knowledgeJobs, read(samples.deletion))
  await expect.poll(() => got).toEqual([[7621099543744053248n, samples.deletion]])

  const wrong = { Type: 'index_document', KnowledgeID: 7, Document: null } as unknown as KnowledgeEvent
  await expect(bus.publish(knowledgeJobs, wrong)).rejects.toMatchObject({
    code: 'invalid_message',
    message: expect.stringContaining('bigint'),
  })
  const numbers = { ...read(samples.deletion), SliceIDs: [1] } as KnowledgeEvent
  await expect(bus.publish(knowledgeJobs, numbers)).rejects.toMatchObject({ code: 'invalid_message' })
  await expect(bus.publish(resourceEvents, {} as ResourceEvent)).rejects.toMatchObject({ code: 'invalid_message' })
  await bus.publish(appEvents, read(samples.app))
})
