import type { BrokenEngine } from './broken.ts'
import { between, override } from './wrapping.ts'

export const brokenSubscribing: readonly BrokenEngine[] = [
  {
    name: 'forgets-the-group',
    rule: 'R3',
    breaks: 'a group that nobody is in is made anew by whoever comes next',
    wrap: (engine) =>
      override(
        engine,
        between(engine, async (spec) => {
          for (const { storage } of spec.sources) {
            const known = (await engine.admin.groups(storage).catch(() => [])).find(({ group }) => group === spec.group)
            if (known?.members === 0) await engine.admin.deleteGroup(storage, spec.group)
          }
          return { spec }
        }),
      ),
  },
  {
    name: 'ignores-filters',
    rule: 'R3',
    breaks: 'hands a group everything of the storage, whatever its filter',
    shows: ({ filter }) => filter === 'broker',
    wrap: (engine) =>
      override(
        engine,
        between(engine, (spec) => ({ spec: { ...spec, sources: spec.sources.map((source) => ({ ...source, filter: undefined })) } })),
      ),
  },
  {
    name: 'delivers-after-stop',
    rule: 'R9',
    breaks: 'stop does nothing',
    wrap: (engine) =>
      override(
        engine,
        between(engine, () => ({ subscribed: () => ({ stop: async () => {} }) })),
      ),
  },
  {
    name: 'never-leaves',
    rule: 'R9',
    breaks: 'close of a subscription does nothing: its member stays, with what it has',
    wrap: (engine) =>
      override(
        engine,
        between(engine, () => ({ subscribed: () => ({ close: async () => {} }) })),
      ),
  },
  {
    name: 'leaks',
    rule: 'R9',
    breaks: 'close of the engine lets go of nothing: its members stay, with what they have',
    wrap: (engine) => override(engine, { close: async () => {} }),
  },
  {
    name: 'over-delivers',
    rule: 'R7',
    breaks: 'takes each grant for twice as much and one more',
    wrap: (engine) =>
      override(
        engine,
        between(engine, () => ({
          subscribed: (subscription) => ({ grant: (messages, bytes) => subscription.grant(messages * 2 + 1, bytes * 2) }),
        })),
      ),
  },
]
