import { type } from 'arktype'
import * as v from 'valibot'
import { expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { type Bus, type Complete, type PublishTopic, type TopicDefinition, topic } from '../../src/index.ts'

declare const bus: Bus

test('parameters come from the template', () => {
  const runs = topic('coze.workflow.{workflowId}.{event}')
  expectTypeOf(runs.with).parameter(0).toEqualTypeOf<{ workflowId: string; event: string }>()
  // @ts-expect-error a parameter is missing
  runs.with({ workflowId: '1' })
  // @ts-expect-error there is no such parameter
  runs.where({ other: 'x' })
  void bus.subscribe(runs.where({ event: 'done' }), { group: 'g' }, (message) => {
    expectTypeOf(message.params).toEqualTypeOf<{ workflowId: string; event: string }>()
  })
})

test('a template that is known at run time only takes any parameters', () => {
  const made = topic('docs.{space}' as string)
  expectTypeOf(made.with).parameter(0).toEqualTypeOf<Record<string, string>>()
})

test('input type at publish, output type in the handler: zod, valibot, arktype', () => {
  const withZod = topic('a', { schema: z.object({ at: z.string().transform((text) => new Date(text)) }) })
  void bus.publish(withZod, { at: '2026-01-01' })
  // @ts-expect-error the input is a text
  void bus.publish(withZod, { at: 7 })
  void bus.subscribe(withZod, { group: 'g' }, (message) => expectTypeOf(message.body).toEqualTypeOf<{ at: Date }>())

  const withValibot = topic('b', { schema: v.object({ n: v.pipe(v.string(), v.transform(Number)) }), key: (body) => String(body.n) })
  void bus.publish(withValibot, { n: '1' })
  void bus.subscribe(withValibot, { group: 'g' }, (message) => expectTypeOf(message.body).toEqualTypeOf<{ n: number }>())

  const withArk = topic('c.{id}', { schema: type({ n: 'number' }) })
  void bus.publish(withArk.with({ id: '1' }), { n: 1 })
  // @ts-expect-error not a number
  void bus.publish(withArk.with({ id: '1' }), { n: 'x' })
  void bus.subscribe(withArk, { group: 'g' }, (message) => expectTypeOf(message.body).toEqualTypeOf<{ n: number }>())
})

const runs = topic('runs.{id}', {
  schema: z.object({ n: z.string().transform(Number) }),
  key: (body) => expectTypeOf(body).toEqualTypeOf<{ n: number }>() && 'k',
})

test('one exact name, and a selection: body and parameters in the handler', () => {
  for (const one of [runs.with({ id: '1' }), runs.where({ id: '1' })])
    void bus.subscribe(one, { group: 'g' }, (message) => {
      expectTypeOf(message.body).toEqualTypeOf<{ n: number }>()
      expectTypeOf(message.params).toEqualTypeOf<{ id: string }>()
    })
})

test('batches and live subscriptions', () => {
  void bus.subscribe(runs, { group: 'g', batch: { size: 5 } }, (messages) => {
    expectTypeOf(messages[0]!.body).toEqualTypeOf<{ n: number }>()
    expectTypeOf(messages[0]!.params).toEqualTypeOf<{ id: string }>()
  })
  void bus.subscribe(runs, (message) => {
    expectTypeOf(message.body).toEqualTypeOf<{ n: number }>()
  })
})

test('a definition with parameters is published to with all of them', () => {
  void bus.publishMany(runs.with({ id: '1' }), [{ n: '1' }])
  // @ts-expect-error the input is a text
  void bus.publishMany(runs.with({ id: '1' }), [{ n: 1 }])
  // @ts-expect-error its parameters are missing
  void bus.publish(runs, { n: '1' })
  // @ts-expect-error its parameters are missing
  void bus.publishMany(runs, [{ n: '1' }])
  void bus.publish(topic('plain'), 1)
  void bus.publish(topic('made.{x}' as string), 1)
  void bus.publish('a.name', 1)
})

test('parameters by an interface, and wrappers', () => {
  interface Where {
    id: string
  }
  const given = {} as TopicDefinition<Where, { n: string }, { n: number }>
  void bus.publish(given.with({ id: '1' }), { n: '1' })
  void bus.subscribe(given.with({ id: '1' }), { group: 'g' }, ({ body }) => expectTypeOf(body).toEqualTypeOf<{ n: number }>())
  const sendIn = <P>(definition: TopicDefinition<P, string, string>, params: P) => bus.publish(definition.with(params), 'text')
  const send = <T extends PublishTopic>(to: T & Complete<T>, body: any) => bus.publish<T>(to, body)
  void [sendIn, send('plain', 1)]
})
