import { type ChildProcess, execFileSync, fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type EmbeddedOptions, openEmbedded } from '../../src/engines/embedded/engine.ts'
import type { Delivery, Engine, EngineSubscription, Outgoing, Settlement, Source, SubscriptionSpec } from '../../src/engines/engine.ts'
import { newId } from '../../src/message/id.ts'

export function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cozebus-embedded-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** A folder with room for 3 MB; undefined where this user may not mount one. */
export function mountSmallDisk(): string | undefined {
  const dir = temporary()
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', dir], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  onTestFinished(() => void execFileSync('umount', ['-l', dir]))
  return dir
}

/** An engine that is closed when the test ends. */
export async function engine(options: Partial<EmbeddedOptions> = {}): Promise<Engine> {
  const opened = await openEmbedded({ dir: undefined, ...options })
  onTestFinished(() => opened.close())
  return opened
}

export function message(storage: string, body: string | Uint8Array, more: Partial<Outgoing> = {}): Outgoing {
  return {
    storage,
    name: storage,
    id: newId(),
    key: undefined,
    headers: undefined,
    body: typeof body === 'string' ? Buffer.from(body) : body,
    at: Date.now(),
    deliverAt: undefined,
    ...more,
  }
}

export function source(storage: string, more: Partial<Source> = {}): Source {
  return { storage, filter: undefined, lanes: storage, from: 'earliest', ...more }
}

export const text = (delivery: { body: Uint8Array }): string => Buffer.from(delivery.body).toString()

/** A member that keeps what it gets. */
export class Hand {
  readonly all: Delivery[] = []
  readonly lostOnes: Delivery[] = []
  subscription!: EngineSubscription
  onDeliver: (batch: readonly Delivery[]) => void = () => {}
  #waiters: (() => void)[] = []

  deliver(batch: readonly Delivery[]): void {
    this.all.push(...batch)
    this.onDeliver(batch)
    for (const waiter of this.#waiters.splice(0)) waiter()
  }

  lost(deliveries: readonly Delivery[]): void {
    this.lostOnes.push(...deliveries)
  }

  assigned(): void {}
  leaving(): void {}
  revoked(): void {}
  warned(): void {}

  get texts(): string[] {
    return this.all.map(text)
  }

  async until(count: number, ms = 5000): Promise<Delivery[]> {
    const end = Date.now() + ms
    while (this.all.length < count) {
      if (Date.now() >= end) throw new Error(`${this.all.length} of ${count} deliveries after ${ms} ms: ${this.texts.slice(0, 20)}`)
      await Promise.race([new Promise<void>((resolve) => this.#waiters.push(resolve)), new Promise((resolve) => setTimeout(resolve, 20))])
    }
    return this.all
  }

  settle(kind: 'ack' | 'release' | 'extend', deliveries: readonly Delivery[], ms = 0) {
    return this.subscription.settle(
      deliveries.map(
        (delivery) =>
          (kind === 'ack'
            ? { kind, delivery }
            : kind === 'release'
              ? { kind, delivery, delayMs: ms }
              : { kind, delivery, leaseMs: ms }) as Settlement,
      ),
    )
  }
}

let members = 0

export async function joinGroup(
  bus: Engine,
  group: string,
  sources: Source[],
  more: Partial<SubscriptionSpec> = {},
  messages = 100,
  bytes = 1e8,
): Promise<Hand> {
  const hand = new Hand()
  hand.subscription = await bus.subscribe(
    { group, sources, order: 'none', orderScope: 'group', leaseMs: 30_000, member: `m${++members}`, ...more },
    hand,
  )
  if (messages > 0) hand.subscription.grant(messages, bytes)
  return hand
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Another process: runs child.ts with its orders. */
export function child(orders: object): ChildProcess {
  const process_ = fork(new URL('./child.ts', import.meta.url), [JSON.stringify(orders)], {
    execArgv: [],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  onTestFinished(() => {
    process_.kill('SIGKILL')
  })
  return process_
}
