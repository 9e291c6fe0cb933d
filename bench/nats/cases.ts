import { core, request } from './live.ts'
import type { NatsCase } from './place.ts'
import { publish, publishCluster, publishKeys, publishMany, publishOne } from './publishing.ts'
import { skewed } from './skewed.ts'
import { first, help } from './starting.ts'
import { latency, subscribe, through } from './taking.ts'

/** `scale`: of the messages of a whole run, so much; less to try something, or on a busy machine. */
export function natsCases(scale: number): Readonly<Record<string, NatsCase>> {
  const part = (count: number): number => Math.max(10, Math.round(count * scale))
  return {
    'publish-128': publish(128, part(200_000), part(40_000)),
    'publish-1024': publish(1024, part(100_000), part(20_000)),
    'publish-r3': publishCluster(128, part(100_000)),
    'publish-many': publishMany(128, part(200_000)),
    'publish-one': publishOne(128, part(5000)),
    'publish-keys': publishKeys(128, part(100_000), 10_000),
    subscribe: subscribe(part(200_000)),
    latency: latency(part(5000)),
    'request-256': request(256, part(100_000), 3),
    'request-one': request(1, part(5000), 1),
    core: core(part(300_000)),
    first,
    help,
    skewed: skewed(part(20_000), 10_000),
    through: through(part(1_000_000)),
  }
}
