/** A message that waits in the ledger, by the name of its record there. */
export interface Entry {
  readonly record: string
  /** When it is to be delivered, ms. */
  readonly due: number
  /** When to look at it next: later than due for what others took in, and for what was refused. */
  readonly at: number
  /** What it keeps its order in; not known before the record was read where somebody else wrote it. */
  readonly lane: string | undefined
}

interface Place extends Entry {
  readonly order: number
}

/** What is to be looked at next: by time, then in the order of delivery, then as it came. A heap: many thousands wait. */
export class Agenda {
  readonly #heap: Place[] = []
  #order = 0

  /** When there is something to do; Infinity for never. */
  get next(): number {
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY
  }

  add({ record, due, at, lane }: Entry): void {
    const heap = this.#heap
    const place: Place = { record, due, at, lane, order: this.#order++ }
    let index = heap.length
    while (index > 0) {
      const above = (index - 1) >> 1
      if (!isBefore(place, heap[above]!)) break
      heap[index] = heap[above]!
      index = above
    }
    heap[index] = place
  }

  /** The first one, which is there no more. */
  take(): Entry {
    const heap = this.#heap
    const first = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return first
    let index = 0
    for (;;) {
      let below = 2 * index + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && isBefore(heap[below + 1]!, heap[below]!)) below++
      if (!isBefore(heap[below]!, last)) break
      heap[index] = heap[below]!
      index = below
    }
    heap[index] = last
    return first
  }
}

function isBefore(a: Place, b: Place): boolean {
  return a.at !== b.at ? a.at < b.at : a.due !== b.due ? a.due < b.due : a.order < b.order
}
