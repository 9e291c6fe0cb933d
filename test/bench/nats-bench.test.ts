import { expect, test } from 'vitest'
import { parseBench } from '../../bench/nats/cli.ts'

// As `nats bench` 0.5.1 printed it.
const sync =
  '\nNATS JetStream synchronous publisher stats: 8,788 msgs/sec ~ 1.1 MiB/sec ~ min: 70.14us ~ avg: 113.43us ~ max: 1,514.40us ~ P50: 106.40us ~ P90: 140.16us ~ P99: 174.39us ~ P99.9: 1,514.40us\n\n'
const log = '16:11:11 [1] Starting JetStream synchronous publisher, publishing 1,000 messages\n'
const consumed = '\nNATS JetStream durable consumer (callback) stats: 140,712 msgs/sec ~ 17 MiB/sec\n\n'

test('rate and times of one client, among what it logs', () => {
  expect(parseBench(log + sync, 'JetStream synchronous publisher')).toEqual({
    rate: 8788,
    p50: expect.closeTo(0.1064),
    p99: expect.closeTo(0.17439),
    p999: expect.closeTo(1.5144),
  })
  expect(parseBench(consumed, 'JetStream durable consumer (callback)')).toEqual({ rate: 140_712 })
})

test.each([
  ['nothing', log],
  ['another kind', consumed],
  ['two of them', sync + sync],
  ['several clients', sync.replace('synchronous publisher stats', 'synchronous publisher aggregated stats')],
  ['another unit of time', sync.replace('P99: 174.39us', 'P99: 174.39ms')],
  ['more than was known', sync.replace('1,514.40us\n', '1,514.40us ~ P99.99: 1,514.40us\n')],
  ['a word for a number', sync.replace('8,788', 'many')],
])('%s is an error that shows what was printed', (_, printed) => {
  expect(() => parseBench(printed, 'JetStream synchronous publisher')).toThrow(printed)
})
