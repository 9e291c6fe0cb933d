import { type Bus, connect } from '../bus.ts'
import { connectionOf } from './connection.ts'
import type { CozeConfig } from './environment.ts'
import { rawTopic } from './raw.ts'

interface Shared {
  readonly bus: Promise<Bus>
  /** By topic. */
  readonly groups: Map<string, string[]>
  users: number
}

/** By configuration: producers and consumers of a process share one connection, where Go has one for each. */
const buses = new Map<string, Shared>()

/** A hold on the bus of a configuration; the last one that lets go closes it. */
export interface BusHold {
  readonly bus: Bus
  /** Makes the topic and the group where they are missing. */
  declare(topic: string, group: string | undefined): Promise<void>
  release(): Promise<void>
}

export async function holdBus(config: CozeConfig): Promise<BusHold> {
  const name = JSON.stringify(config)
  let shared = buses.get(name)
  if (!shared) {
    const groups = new Map<string, string[]>()
    const { url, options } = connectionOf(config, (topic) => groups.get(topic) ?? [])
    shared = { bus: connect(url, options), groups, users: 0 }
    buses.set(name, shared)
  }
  shared.users++
  const { bus, groups } = shared
  let released: Promise<void> | undefined
  const release = async (): Promise<void> => {
    if (--shared.users > 0) return
    buses.delete(name)
    await (await bus).close()
  }
  try {
    const opened = await bus
    const declare = (topic: string, group: string | undefined): Promise<void> => {
      if (group) groups.set(topic, [...new Set([...(groups.get(topic) ?? []), group])])
      return opened.admin.declare(rawTopic(topic))
    }
    return { bus: opened, declare, release: () => (released ??= release()) }
  } catch (error) {
    if (--shared.users === 0) buses.delete(name)
    throw error
  }
}
