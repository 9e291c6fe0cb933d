// The same by the NATS project's own client for Node.
import { AckPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import type { Figures } from '../figures.ts'
import { ageOf, bodyOf, questionOf, stamped } from './bodies.ts'
import { manyAtOnce, oneByOne, paced, warmOf } from './sending.ts'
import { counted, figuresOf, percentiles } from './watch.ts'
import type { Work } from './work.ts'

/** With ids, as ours. */
export const publish = (work: Work): Promise<Figures> => publishing(work, (send) => manyAtOnce(work.count, work.window, send))
export const publishOne = (work: Work): Promise<Figures> => publishing(work, (send) => oneByOne(work.count, send))

async function publishing(work: Work, run: (send: () => PromiseLike<unknown>) => Promise<Figures>): Promise<Figures> {
  const nc = await connect({ servers: work.url })
  const js = jetstream(nc)
  const body = bodyOf(work)
  let id = 0
  const figures = await run(() => js.publish(work.topic, body, { msgID: `${id++}` }))
  await nc.close()
  return figures
}

/** A durable consumer, each message acknowledged. */
export async function consume({ url, stream, group }: Work, callback: (body: Uint8Array) => void) {
  const nc = await connect({ servers: url })
  const jsm = await jetstreamManager(nc)
  await jsm.consumers.add(stream, { durable_name: group, ack_policy: AckPolicy.Explicit })
  const consumer = await jetstream(nc).consumers.get(stream, group)
  await consumer.consume({
    callback: (message) => {
      callback(message.data)
      message.ack()
    },
  })
  return nc
}

export async function latency(work: Work): Promise<Figures> {
  const { topic, count, size } = work
  const warm = warmOf(count)
  const times: number[] = []
  const { took, all } = counted(count + warm, warm)
  const nc = await consume(work, (body) => {
    times.push(ageOf(body))
    took()
  })
  const js = jetstream(nc)
  await paced(count + warm, 1000, (i) => void js.publish(topic, stamped(size), { msgID: `${i}` }))
  const { cpu } = figuresOf(count, await all)
  await nc.drain()
  return { cpu, ...percentiles(times.slice(warm)) }
}

export async function respond({ url, topic }: Work): Promise<never> {
  const nc = await connect({ servers: url })
  nc.subscribe(topic, { queue: 'answering', callback: (_, message) => void message.respond(message.data) })
  await nc.flush()
  process.stdout.write('ready\n')
  return new Promise(() => {})
}

export async function request(work: Work): Promise<Figures> {
  const { url, topic, count, window } = work
  const nc = await connect({ servers: url })
  const question = questionOf(work)
  const ask = async (): Promise<void> => {
    const answer = await nc.request(topic, JSON.stringify(question), { timeout: 5000 })
    if (answer.json<typeof question>().text !== question.text) throw new Error('another answer')
  }
  const figures = await (window === 1 ? oneByOne(count, ask) : manyAtOnce(count, window, ask))
  await nc.close()
  return figures
}

/** As its users must: a flush every 1000, as publishing alone would fill its buffer without end. */
export async function core(work: Work): Promise<Figures> {
  const { url, topic, count, window } = work
  const nc = await connect({ servers: url })
  const body = bodyOf(work)
  const warm = warmOf(count)
  const { took, all } = counted(count + warm, warm)
  nc.subscribe(topic, { callback: took })
  await nc.flush()
  for (let i = 0; i < count + warm; i++) {
    nc.publish(topic, body)
    if (i % window === window - 1) await nc.flush()
  }
  const phase = await all
  await nc.close()
  return figuresOf(count, phase)
}
