// A worker of handlers.test.ts whose handler holds the event loop for longer than its lease.
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../src/index.ts'

const say = (word: object): void => void process.send!(word)
const bus = await connect(process.argv[2]!)
const work = await bus.subscribe('heavy', { group: 'g', lease: '1s' }, async (message, delivery) => {
  say({ began: message.id, fence: delivery.fence })
  await sleep(50)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4000)
  // A turn of the loop later it has heard.
  await sleep(1000)
  say({ ended: message.id, aborted: delivery.signal.aborted, reason: String(delivery.signal.reason) })
})
process.on('message', () => say({ status: work.status() }))
say({ ready: true })
