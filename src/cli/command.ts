import type { Command } from 'commander'
import type { StoredTopics } from '../admin/stored-topics.ts'
import type { Bus, ConnectOptions } from '../bus.ts'
import { BusError } from '../errors.ts'
import { mustExist } from './store-folder.ts'

/** What every command is given besides its own options. */
export interface Common {
  readonly url: string
  /** Path of a JSON file. */
  readonly options?: string
  readonly json?: boolean
}

/** A command with its examples: help without one is half a help. */
export function add(parent: Command, usage: string, description: string, examples: readonly [string, string]): Command {
  return parent
    .command(usage)
    .description(description)
    .addHelpText('after', `\nExamples:\n${examples.map((line) => `  $ cozebus ${line}`).join('\n')}`)
}

/** Says what a topic is where one that is stored is meant. */
export const topicText = 'a name, as the command topics lists it or one inside a definition'

/** The command's own options and the global ones, whichever side of the command they stood on. */
export function optionsOf<T>(command: Command): T & Common {
  return command.optsWithGlobals() as T & Common
}

/** The bus, and what knows its options, is loaded only when a command needs it: help comes without. */
export async function open({ url, options }: Common, more: ConnectOptions = {}): Promise<Bus> {
  const [{ connect }, { readOptions }] = await Promise.all([import('../bus.ts'), import('./options-file.ts')])
  return connect(url, { ...readOptions(options), ...more })
}

export async function storedTopics(bus: Bus): Promise<StoredTopics> {
  const { StoredTopics } = await import('../admin/stored-topics.ts')
  return new StoredTopics(bus.admin)
}

export async function withBus(options: Common, action: (bus: Bus, stored: StoredTopics) => Promise<void>): Promise<void> {
  const bus = await open(options)
  try {
    await action(bus, await storedTopics(bus))
  } finally {
    await bus.close()
  }
}

/** For commands that only look or tidy up: a mistyped folder must not become an empty store. @throws BusError `not_found` */
export async function withStored(options: Common, action: (bus: Bus, stored: StoredTopics) => Promise<void>): Promise<void> {
  mustExist(options.url)
  await withBus(options, action)
}

/** @throws BusError `invalid_argument` */
export function whole(text: string, name: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= least && value <= most))
    throw new BusError('invalid_argument', `${name} must be a whole number from ${least} to ${most}, not '${text}'`)
  return value
}
