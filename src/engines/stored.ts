import type { OnStored, PublishOutcome } from './engine.ts'

/** Tells of those of a batch that are stored, once these have an outcome. */
export function tellStored(items: readonly { readonly index: number }[], outcomes: readonly PublishOutcome[], stored: OnStored): void {
  for (const { index } of items) {
    const outcome = outcomes[index]!
    if (outcome.ok) stored(index, outcome)
  }
}
