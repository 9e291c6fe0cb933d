import { connect } from '../../src/index.ts'
import { outstanding } from '../sides/sending.ts'
import type { NatsPlace } from './place.ts'

/** So many messages of 128 B for sides to take. */
export async function fill({ url }: NatsPlace, topic: string, count: number, keyOf?: (i: number) => string): Promise<void> {
  await using bus = await connect(url)
  const body = new Uint8Array(128).fill(65)
  await outstanding(count, 1000, (i) => bus.publish(topic, body, keyOf === undefined ? {} : { key: keyOf(i) }))
}
