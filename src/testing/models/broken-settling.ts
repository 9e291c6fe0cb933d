import type { Delivery, Engine, Settlement, SettleResult } from '../../engines/engine.ts'
import type { BrokenEngine } from './broken.ts'
import { between, override } from './wrapping.ts'

/** The engine with each settlement changed on its way; undefined = not sent, but confirmed. */
function altered(engine: Engine, alter: (settlement: Settlement) => Settlement | undefined): Engine {
  return override(
    engine,
    between(engine, () => ({
      subscribed: (subscription) => ({
        async settle(batch) {
          const sent = batch.map(alter)
          const results = await subscription.settle(sent.filter((settlement) => settlement !== undefined))
          let i = 0
          return sent.map((settlement): SettleResult => (settlement ? results[i++]! : 'confirmed'))
        },
      }),
    })),
  )
}

export const brokenSettling: readonly BrokenEngine[] = [
  {
    name: 'hot-loops',
    rule: 'R4',
    breaks: 'delivers what was given back at once, whatever delay was asked for',
    wrap: (engine) => altered(engine, (settlement) => (settlement.kind === 'release' ? { ...settlement, delayMs: 0 } : settlement)),
  },
  {
    name: 'skips-released',
    rule: 'R4',
    breaks: 'takes a release for an acknowledgement, as one that commits past it does',
    wrap: (engine) =>
      altered(engine, (settlement) => (settlement.kind === 'release' ? { kind: 'ack', delivery: settlement.delivery } : settlement)),
  },
  {
    name: 'forgets-acks',
    rule: 'R3',
    breaks: 'confirms acknowledgements and does nothing: the messages come again, for ever',
    wrap: (engine) => altered(engine, (settlement) => (settlement.kind === 'ack' ? undefined : settlement)),
  },
  {
    name: 'never-extends',
    rule: 'R5',
    breaks: 'confirms extensions and does nothing',
    shows: ({ lease, settle }) => lease.maxMs > 0 && settle === 'message', // where only positions are kept there is no lease to run out
    wrap: (engine) => altered(engine, (settlement) => (settlement.kind === 'extend' ? undefined : settlement)),
  },
  {
    name: 'hides-lost-leases',
    rule: 'R5',
    breaks: "confirms what is another member's by now, and tells of no loss",
    wrap: (engine) =>
      override(
        engine,
        between(engine, () => ({
          sink: { lost: () => {}, revoked: () => {} },
          subscribed: (subscription) => ({
            settle: async (batch) => (await subscription.settle(batch)).map((result) => (result === 'lost' ? 'confirmed' : result)),
          }),
        })),
      ),
  },
  {
    name: 'released-is-overtaken',
    rule: 'R6',
    breaks: 'keeps what was given back aside and delivers later ones of its key meanwhile',
    wrap: overtaken,
  },
]

const asideMs = 50

// To the engine the message stays in hand, so that it goes on with those after it.
function overtaken(engine: Engine): Engine {
  return override(
    engine,
    between(engine, (_spec, sink) => {
      const aside = new Map<Delivery, NodeJS.Timeout>()
      let owed = 0
      const forget = (): void => {
        for (const timer of aside.values()) clearTimeout(timer)
        aside.clear()
      }
      return {
        subscribed: (subscription) => ({
          grant(messages, bytes) {
            const kept = Math.min(owed, messages) // for those that come back past the engine
            owed -= kept
            if (messages > kept) subscription.grant(messages - kept, bytes)
          },
          async settle(batch) {
            const rest = batch.filter(({ kind }) => kind !== 'release')
            for (const settlement of batch) {
              if (settlement.kind !== 'release') continue
              const { delivery, delayMs } = settlement
              owed++
              const again = setTimeout(() => {
                aside.delete(delivery)
                sink.deliver([delivery])
              }, delayMs + asideMs)
              aside.set(delivery, again)
            }
            const results = rest.length > 0 ? await subscription.settle(rest) : []
            let i = 0
            return batch.map(({ kind }): SettleResult => (kind === 'release' ? 'confirmed' : results[i++]!))
          },
          stop() {
            forget()
            return subscription.stop()
          },
          close() {
            forget()
            return subscription.close()
          },
        }),
      }
    }),
  )
}
