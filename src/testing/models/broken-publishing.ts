import type { Engine, Outgoing, PublishOutcome } from '../../engines/engine.ts'
import { isPrivate } from '../../topic/name.ts'
import type { BrokenEngine } from './broken.ts'
import { between, override } from './wrapping.ts'

const heldMs = 5

/** The engine with each message changed on its way out. */
function altered(engine: Engine, alter: (message: Outgoing) => Outgoing): Engine {
  return override(engine, { publish: (batch, signal) => engine.publish(batch.map(alter), signal) })
}

function confirmed(batch: readonly Outgoing[]): PublishOutcome[] {
  return batch.map(() => ({ ok: true, position: undefined, duplicate: false }))
}

export const brokenPublishing: readonly BrokenEngine[] = [
  {
    name: 'loses-on-close',
    rule: 'R1',
    breaks: `confirms at once, sends ${heldMs} ms later, and close drops what is not sent`,
    wrap(engine) {
      const timers = new Set<NodeJS.Timeout>()
      return override(engine, {
        async publish(batch) {
          const timer = setTimeout(() => {
            timers.delete(timer)
            engine.publish(batch).catch(() => {})
          }, heldMs)
          timers.add(timer)
          return confirmed(batch)
        },
        close() {
          for (const timer of timers) clearTimeout(timer)
          return engine.close()
        },
      })
    },
  },
  {
    name: 'confirms-before-storing',
    rule: 'R1',
    breaks: 'confirms every publish, also those that are refused or never arrive',
    wrap: (engine) =>
      override(engine, {
        async publish(batch, signal) {
          engine.publish(batch, signal).catch(() => {})
          return confirmed(batch)
        },
      }),
  },
  {
    name: 'one-failure-hides-the-batch',
    rule: 'R1',
    breaks: 'reports the whole batch as refused when one message of it is, though the others are stored',
    wrap: (engine) =>
      override(engine, {
        async publish(batch, signal) {
          const outcomes = await engine.publish(batch, signal)
          const failed = outcomes.find(({ ok }) => !ok)
          return failed ? outcomes.map(() => failed) : outcomes
        },
      }),
  },
  {
    name: 'ignores-dedupe',
    rule: 'R2',
    breaks: 'stores a repeated id again, for it gives each send an id of its own',
    shows: ({ dedupeWindowMs }) => dedupeWindowMs > 0,
    wrap(engine) {
      let count = 0
      const own = <T extends { readonly id: string }>(message: T): T => ({ ...message, id: message.id.replace(/~\d+$/, '') })
      return override(engine, {
        publish: (batch, signal) =>
          engine.publish(
            batch.map((message) => ({ ...message, id: `${message.id}~${++count}` })),
            signal,
          ),
        async read(storage, after, limit) {
          const page = await engine.read(storage, after, limit)
          return { ...page, messages: page.messages.map(own) }
        },
        ...between(engine, (_spec, sink) => ({ sink: { deliver: (batch) => sink.deliver(batch.map(own)) } })),
      })
    },
  },
  {
    name: 'loses-headers',
    rule: 'R12',
    breaks: 'stores messages without their headers',
    shows: ({ headers }) => headers,
    wrap: (engine) => altered(engine, (message) => ({ ...message, headers: undefined })),
  },
  {
    name: 'drops-keys',
    rule: 'R6',
    breaks: 'stores messages without their key, so that no order is kept',
    shows: ({ headers }) => headers,
    wrap: (engine) => altered(engine, (message) => ({ ...message, key: undefined })),
  },
  {
    name: 'bytes-through-text',
    rule: 'R12',
    breaks: 'passes bodies through UTF-8 text, which changes every byte that is none',
    wrap: (engine) => altered(engine, (message) => ({ ...message, body: Buffer.from(Buffer.from(message.body).toString('utf8')) })),
  },
  {
    name: 'truncates-bytes',
    rule: 'R12',
    breaks: 'stores the first 4096 bytes of a body',
    wrap: (engine) => altered(engine, (message) => ({ ...message, body: message.body.subarray(0, 4096) })),
  },
  {
    name: 'replays-to-every-group',
    rule: 'R10',
    breaks: 'what goes to the private topic of a group is published to the topic itself, for all groups',
    wrap: (engine) =>
      override(engine, {
        async publish(batch, signal) {
          const outcomes = await engine.publish(batch, signal)
          const leaked = batch
            .filter(({ storage }) => isPrivate(storage))
            .map((message) => ({ ...message, ...mainTopic(message), id: `${message.id}-leaked` }))
          if (leaked.length > 0) await engine.publish(leaked, signal)
          return outcomes
        },
      }),
  },
  {
    name: 'ignores-delay',
    rule: 'R1',
    breaks: 'hands out delayed messages at once',
    shows: ({ delayMaxMs }) => delayMaxMs > 0,
    wrap: (engine) => altered(engine, (message) => ({ ...message, deliverAt: undefined })),
  },
]

// `_cozebus.replay.<group>.<storage>`, each escaped into one token.
function mainTopic({ storage }: Outgoing): { storage: string; name: string } {
  const main = decodeURIComponent(storage.split('.')[3] ?? storage)
  return { storage: main, name: main }
}
