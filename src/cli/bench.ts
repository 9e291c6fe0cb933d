import { connect } from '../bus.ts'
import { newId } from '../message/id.ts'
import { table } from './output.ts'

/** Publishes n messages and handles them, and prints how long each took. */
export async function bench(options: { url: string; json?: boolean; messages: string; size: string }): Promise<void> {
  const total = Number(options.messages)
  const body = new Uint8Array(Number(options.size))
  const bus = await connect(options.url)
  const topic = `bench.${newId()}`
  try {
    const keeper = await bus.subscribe(topic, { group: 'bench' }, () => {})
    await keeper.close()
    const begun = performance.now()
    let sent = 0
    await Promise.all(Array.from({ length: total }, () => bus.publish(topic, body).then(() => sent++)))
    const published = performance.now() - begun
    const started = performance.now()
    let handled = 0
    await new Promise<void>((resolve, reject) => {
      bus
        .subscribe(topic, { group: 'bench', concurrency: 64 }, () => {
          if (++handled === total) resolve()
        })
        .catch(reject)
    })
    const drained = performance.now() - started
    table(
      [
        { what: 'publish', messages: sent, 'per second': Math.round((sent / published) * 1000) },
        { what: 'handle and ack', messages: handled, 'per second': Math.round((handled / drained) * 1000) },
      ],
      options.json ?? false,
    )
  } finally {
    await bus.close()
  }
}
