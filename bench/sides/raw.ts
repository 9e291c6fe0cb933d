// The same by the NATS project's own client for Node.
import { jetstream } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import type { Figures } from '../figures.ts'
import { figuresOf, outstanding, warmOf, watch } from './watch.ts'
import type { Work } from './work.ts'

/** With an id, as ours. */
export async function publish({ url, topic, count, size, window }: Work): Promise<Figures> {
  const nc = await connect({ servers: url })
  const js = jetstream(nc)
  const body = new Uint8Array(size).fill(65)
  const warm = warmOf(count)
  await outstanding(warm, window, (i) => js.publish(topic, body, { msgID: `warm-${i}` }))
  const done = watch()
  await outstanding(count, window, (i) => js.publish(topic, body, { msgID: `${i}` }))
  const phase = done()
  await nc.close()
  return figuresOf(count, phase)
}
