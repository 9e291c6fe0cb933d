import type { Command } from 'commander'
import { type Bus, connect } from '../bus.ts'
import { BusError } from '../errors.ts'

/** What every command is given besides its own options. */
export interface Common {
  readonly url: string
  readonly json?: boolean
}

/** A command with its examples: help without one is half a help. */
export function add(parent: Command, usage: string, description: string, examples: readonly [string, string]): Command {
  return parent
    .command(usage)
    .description(description)
    .addHelpText('after', `\nExamples:\n${examples.map((line) => `  $ cozebus ${line}`).join('\n')}`)
}

/** The command's own options and the global ones, whichever side of the command they stood on. */
export function optionsOf<T>(command: Command): T & Common {
  return command.optsWithGlobals() as T & Common
}

export async function withBus(options: Common, action: (bus: Bus) => Promise<void>): Promise<void> {
  const bus = await connect(options.url)
  try {
    await action(bus)
  } finally {
    await bus.close()
  }
}

/** @throws BusError `invalid_argument` */
export function whole(text: string, name: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= least && value <= most))
    throw new BusError('invalid_argument', `${name} must be a whole number from ${least} to ${most}, not '${text}'`)
  return value
}
