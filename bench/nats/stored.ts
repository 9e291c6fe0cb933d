import { jetstream } from '@nats-io/jetstream'
import type { Figures } from '../figures.ts'
import type { NatsPlace } from './place.ts'

export const streamOf = (topic: string): string => `${topic}_STREAM`

export interface Expected {
  /** Messages there at the end. */
  readonly count: number
  /** Whether each has an id on the wire, by which the server stores it once. */
  readonly ids: boolean
  /** Whether the side finds its stream made. */
  readonly made: boolean
  /** Whether the stream is called like the topic. */
  readonly named?: boolean
}

let made = 0

/** A side that publishes to a topic of its own: looks whether the server has what it should, and removes it again. */
export async function stored(place: NatsPlace, expected: Expected, publish: (topic: string) => Promise<Figures>): Promise<Figures> {
  const { jsm } = place
  const topic = `published${made++}`
  const stream = expected.named ? topic : streamOf(topic)
  if (expected.made) await jsm.streams.add({ name: stream, subjects: [topic], allow_batched: true, num_replicas: place.replicas })
  const figures = await publish(topic)
  await check(place, stream, expected)
  await jsm.streams.delete(stream)
  return figures
}

/** @throws Error where a message is missing, is there twice, or has no id that the server stores it once by */
async function check({ jsm, nc }: NatsPlace, stream: string, { count, ids }: Expected): Promise<void> {
  const { state } = await jsm.streams.info(stream)
  if (state.messages !== count) throw new Error(`${stream} has ${state.messages} messages, not ${count}`)
  const found = await jsm.streams.getMessage(stream, { seq: state.last_seq })
  const id = found?.header.get('Nats-Msg-Id') ?? ''
  if ((id !== '') !== ids) throw new Error(`the last message of ${stream} has ${id === '' ? 'no id' : `the id ${id}`}`)
  if (!ids) return
  const again = await jetstream(nc).publish(found!.subject, '', { msgID: id })
  if (!again.duplicate) throw new Error(`${stream} stored the id ${id} twice`)
}
