import { BusError } from '../../errors.ts'
import type { Api } from './api.ts'
import { natsError } from './failure.ts'
import type { NatsOptions } from './options.ts'

/** Meanwhile nobody may lead it. */
const filledMs = 10_000

/** A stream or bucket of the bus's own, shared by all topics. */
export interface Own {
  readonly stream: string
  readonly copies: number
}

/**
 * Sees to the copies of what all topics share: delayed messages, attempts, dead letters and replays are there, and whoever
 * came first with the default made it with one. More than are asked for stay.
 * @throws BusError `conflict` under `verify`
 */
export async function seeToCopies(api: Api, { provision = 'create', replicas }: NatsOptions, { stream, copies }: Own): Promise<void> {
  if (provision === 'off' || replicas === undefined || copies >= replicas) return
  if (provision === 'apply') {
    try {
      await api.streams.update(stream, { num_replicas: replicas })
      await filled(api, stream, replicas)
    } catch (error) {
      throw natsError(error, `the copies of '${stream}'`)
    }
    return
  }
  const text = `'${stream}', where delayed messages, attempts and dead letters of all topics are kept, has ${copies} cop${copies === 1 ? 'y' : 'ies'}, asked for are ${replicas}; run \`nats stream edit ${stream} --replicas=${replicas} --force\`, or connect with provision: 'apply'`
  if (provision === 'verify') throw new BusError('conflict', text)
  process.emitWarning(text, { type: 'CozebusWarning', code: 'copies' })
}

/** Until the new copies have it all, or our time is over: they get it later then. */
async function filled(api: Api, stream: string, copies: number): Promise<void> {
  for (const end = performance.now() + filledMs; performance.now() < end; ) {
    const { cluster } = await api.streams.info(stream)
    const peers = cluster?.replicas ?? []
    if (cluster?.leader && peers.length === copies - 1 && peers.every(({ current }) => current)) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
