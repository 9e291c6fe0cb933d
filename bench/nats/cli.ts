import { natsCli } from '../../test/rig/nats-server.ts'
import { ended } from '../child.ts'
import type { Figures } from '../figures.ts'

const number = String.raw`([\d,]+(?:\.\d+)?)`
const times = ['min', 'avg', 'max', 'P50', 'P90', 'P99', 'P99.9'].map((name) => ` ~ ${name.replace('.', '\\.')}: ${number}us`).join('')
const line = new RegExp(`^NATS (.+) stats: ${number} msgs/sec ~ ${number} (?:B|[KMGT]i?B)/sec(?:${times})?$`, 'gm')

/**
 * What `nats bench` 0.5.1 prints of one client; times, where it has them, are of an operation: a batch, where it makes batches.
 * @throws Error with all of it where it is anything else, or of another kind than `what`
 */
export function parseBench(printed: string, what: string): Figures {
  const [found, ...more] = printed.matchAll(line)
  if (found === undefined || more.length > 0 || found[1] !== what)
    throw new Error(`nats bench printed no line, or another, for '${what}':\n${printed}`)
  const [rate, , , , , p50, , p99, p999] = found.slice(2).map((text) => (text === undefined ? undefined : Number(text.replaceAll(',', ''))))
  if (p50 === undefined) return { rate: rate! }
  return { rate: rate!, p50: p50 / 1000, p99: p99! / 1000, p999: p999! / 1000 }
}

/** Runs `nats bench`; processor and memory are of the whole process, its start too. `what`: how it calls what it measures. */
export async function natsBench(url: string, what: string, count: number, args: readonly string[]): Promise<Figures> {
  const own = ['--no-context', '--server', url, '--no-progress', '--msgs', `${count}`]
  const { printed, cpu, peak } = await ended(await natsCli(), ['bench', ...args, ...own])
  return { ...parseBench(printed, what), cpu: cpu && (cpu * 1e6) / count, peak }
}
