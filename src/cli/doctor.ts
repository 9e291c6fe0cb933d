import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Command } from 'commander'
import type { Bus } from '../bus.ts'
import type { Finding } from '../engines/engine.ts'
import { newId } from '../message/id.ts'
import { add, type Common, open, optionsOf } from './command.ts'
import { paint, plain, table } from './output.ts'
import { checkStore } from './store-check.ts'

type Level = Finding['level']

interface Check extends Finding {
  /** Everything but a problem. */
  readonly ok: boolean
}

const roundTripMs = 5000
/** Above this, timers and leases come late. */
const loopDelayMs = 200

export function addDoctor(program: Command): void {
  add(program, 'doctor', 'check this machine and the bus; exit code 1 when a check fails', [
    'doctor',
    'doctor --url file:./data --json',
  ]).action((_options, command: Command) => doctor(optionsOf(command)))
}

/** Tries what a user would, and says what is wrong. A check that fails leaves the others to go on. */
async function doctor(options: Common): Promise<void> {
  const checks: Check[] = []
  const attempt = async (check: string, action: () => Promise<string> | string): Promise<void> => {
    try {
      checks.push({ check, ok: true, level: 'ok', detail: await action() })
    } catch (error) {
      checks.push({ check, ok: false, level: 'problem', detail: error instanceof Error ? error.message : String(error) })
    }
  }
  const add = (findings: readonly Finding[]): void => {
    for (const finding of findings) checks.push({ ok: finding.level !== 'problem', ...finding })
  }
  const loop = monitorEventLoopDelay({ resolution: 10 })
  loop.enable()
  await attempt('node', nodeVersion)
  await attempt('store', () => checkStore(options.url))
  add(await way(options))
  let bus: Bus | undefined
  await attempt('connect', async () => {
    bus = await open(options)
    const { engine, capabilities, ledger } = bus.status()
    return `${engine}, durability: ${capabilities.durability}, ledger: ${ledger}`
  })
  if (bus) {
    const connected = bus
    await attempt('health', () => health(connected))
    // From here on: connecting loads code, which says nothing of how the loop fares at work.
    loop.reset()
    await attempt('round trip', () => roundTrip(connected))
    await attempt('event loop', () => {
      const ms = loop.percentile(99) / 1e6
      if (ms > loopDelayMs) throw new Error(`p99 delay of ${ms.toFixed(1)} ms; this machine is overloaded`)
      return `p99 delay ${ms.toFixed(1)} ms`
    })
    add(await connected.diagnose())
    await connected.close()
  }
  loop.disable()
  show(checks, options.json ?? false)
  if (checks.some(({ ok }) => !ok)) process.exitCode = 1
}

/** Loaded only here: help comes without the bus. */
async function way({ url, options }: Common): Promise<readonly Finding[]> {
  const [{ examine }, { readOptions }] = await Promise.all([import('../bus.ts'), import('./options-file.ts')])
  return examine(url, readOptions(options))
}

function nodeVersion(): string {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (!((major === 22 && minor >= 22) || (major === 24 && minor >= 6) || major > 24))
    throw new Error(`Node ${process.version} is not supported; use 22.22 or later of 22, or 24.6 and later`)
  return process.version
}

async function health(bus: Bus): Promise<string> {
  const { ok, detail } = await bus.health()
  if (!ok) throw new Error(detail)
  return detail
}

/** Publishes and receives on a topic of its own, which is gone after, where that can be. */
async function roundTrip(bus: Bus): Promise<string> {
  const topic = `doctor.${newId()}`
  let timer: NodeJS.Timeout | undefined
  let got = (): void => {}
  const handled = new Promise<void>((resolve, reject) => {
    got = resolve
    timer = setTimeout(() => reject(new Error(`published, but nothing came back within ${roundTripMs / 1000} s`)), roundTripMs)
  })
  // It may fail while nobody waits yet.
  handled.catch(() => {})
  const work = await bus.subscribe(topic, { group: 'doctor' }, () => got())
  try {
    const begun = performance.now()
    await bus.publish(topic, { ping: true })
    await handled
    const took = `${(performance.now() - begun).toFixed(1)} ms`
    const left = await remove()
    return left === undefined ? took : `${took}; its topic ${topic} stays there: ${left}`
  } catch (error) {
    await remove()
    throw error
  }
  async function remove(): Promise<string | undefined> {
    clearTimeout(timer)
    await work.close({ deadlineMs: 1000 })
    return bus.admin.deleteTopic(topic).then(
      () => undefined,
      (error: Error) => error.message,
    )
  }
}

function show(checks: readonly Check[], json: boolean): void {
  if (json) {
    table(checks as unknown as Record<string, unknown>[], true)
    return
  }
  for (const { check, level, detail, advice } of checks) {
    process.stdout.write(`${paint(marks[level][1], marks[level][0])} ${check.padEnd(11)} ${plain(detail)}\n`)
    if (advice !== undefined) process.stdout.write(`${' '.repeat(17)}→ ${plain(advice)}\n`)
  }
}

const marks: Readonly<Record<Level, readonly [string, 'green' | 'red' | 'yellow' | 'dim']>> = {
  ok: ['ok  ', 'green'],
  note: ['note', 'dim'],
  warning: ['WARN', 'yellow'],
  problem: ['FAIL', 'red'],
}
