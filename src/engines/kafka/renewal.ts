import type { Holding, Means } from './holding.ts'
import { commitOffsets, listOffsets } from './offsets.ts'
import type { Part } from './part.ts'

/** Where the log is not what it was: retention took its beginning, its broker lost its end, or it is another by its name. */
export class Renewal {
  readonly #holding: Holding
  readonly #means: Means

  constructor(holding: Holding, means: Means) {
    this.#holding = holding
    this.#means = means
  }

  async outOfRange(part: Part): Promise<void> {
    const { cluster, sink } = this.#means
    const topic = await cluster.topic(part.topic, true)
    if (!topic) return
    const start = (await listOffsets(cluster, topic, 'start'))[part.partition] ?? 0
    const end = (await listOffsets(cluster, topic, 'end'))[part.partition] ?? 0
    const lost = start - part.cursor
    if (lost <= 0) {
      // Who said so leads no more, or had not heard of the newest.
      if (part.cursor <= end) return
      this.beginAnew(topic.name, 'ends before what the group has read: its broker lost the newest; the group begins at its start')
      return
    }
    sink.warned(
      `topic '${part.source.storage}', partition ${part.partition}: ${lost} messages were deleted before the group had read them; raise the retention, or the speed of the group`,
    )
    part.jump(start)
  }

  /** What is in hand is of a log that is no more, and so are the places that are committed. */
  beginAnew(topic: string, why: string): void {
    const { parts, sources, membership, sink } = this.#means
    const old = [...parts.values()].filter((part) => part.topic === topic)
    const joined = sources.get(topic)
    if (old.length === 0 || !joined) return
    sink.warned(`topic '${joined.source.storage}' ${why}`)
    this.#holding.revoke(old)
    joined.from = 'earliest'
    joined.admitted = false
    void this.#commitStart(topic, old).finally(() => membership.rejoin())
  }

  /** By whoever had them: the next owner begins there. */
  async #commitStart(topic: string, old: readonly Part[]): Promise<void> {
    const { cluster, group, committing, membership } = this.#means
    try {
      // One that is on its way would come after it.
      await committing.commit().catch(() => {})
      const now = await cluster.topic(topic)
      if (!now) return
      const starts = await listOffsets(cluster, now, 'start')
      const places = new Map(
        old.flatMap(({ partition }) => (partition in starts ? [[partition, { offset: starts[partition]!, metadata: '' }]] : [])),
      )
      await commitOffsets(cluster, group, membership.identity, new Map([[topic, places]]))
    } catch {
      // The broker forgets what was committed of a topic with it: this is for what was committed since.
    }
  }
}
