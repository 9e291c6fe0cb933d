// A process of its own, on the built package: what a user's process takes, without the parts that strip types.
import { readFileSync } from 'node:fs'
import { connect } from '../dist/index.js'

const [url, total] = [process.argv[2], Number(process.argv[3])]
const begun = performance.now()
const bus = await connect(url)
let firstMs = 0
let done = 0
await new Promise((resolve) => {
  void bus.subscribe('bench', { group: 'g', concurrency: 64 }, () => {
    if (done++ === 0) firstMs = performance.now() - begun
    if (done === total) resolve()
  })
})
const rate = Math.round((total / (performance.now() - begun)) * 1000)
await bus.close()
const peakMiB = Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024)
console.log(JSON.stringify({ firstMs: Math.round(firstMs), rate, peakMiB }))
