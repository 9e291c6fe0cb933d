// What the bus stores nowhere: questions, and messages to whoever listens.
import type { Figures } from '../figures.ts'
import { bodyOf, questionOf } from './bodies.ts'
import { open } from './open.ts'
import { manyAtOnce, oneByOne, outstanding, warmOf } from './sending.ts'
import { counted, figuresOf } from './watch.ts'
import type { Work } from './work.ts'

/** Answers with the question, until it is ended. */
export async function respond(work: Work): Promise<never> {
  const bus = await open(work)
  await bus.respond(work.topic, { group: 'answering' }, ({ body }) => body)
  process.stdout.write('ready\n')
  return new Promise(() => {})
}

export async function request(work: Work): Promise<Figures> {
  await using bus = await open(work)
  const { topic, count, window } = work
  const question = questionOf(work)
  const ask = async (): Promise<void> => {
    const answer = await bus.request(topic, question)
    if (answer.text !== question.text) throw new Error('another answer')
  }
  return await (window === 1 ? oneByOne(count, ask) : manyAtOnce(count, window, ask))
}

/** One process publishes and listens. */
export async function core(work: Work): Promise<Figures> {
  await using bus = await open(work)
  const { topic, count, window } = work
  const body = bodyOf(work)
  const warm = warmOf(count)
  const { took, all } = counted(count + warm, warm)
  await bus.subscribe(topic, took)
  await outstanding(count + warm, window, () => bus.publish(topic, body))
  return figuresOf(count, await all)
}
