/** What each member of a group says of itself, beside the topics that it reads. */
export interface Said {
  /** Topics by the lanes they share with others: a key is with one member in all of them. */
  readonly lanes: Readonly<Record<string, string>>
  readonly filters: Readonly<Record<string, string>>
  readonly owned: Readonly<Record<string, readonly number[]>>
  /** Topics of which it has not yet seen that all of the group read them with its filter. */
  readonly undecided?: readonly string[]
}

export interface Member {
  readonly id: string
  readonly topics: readonly string[]
  /** Undefined: a member of another client. */
  readonly said: Said | undefined
}

/** By member, by topic. */
export type Assignment = Map<string, Map<string, number[]>>

export function encodeSaid(said: Said): string {
  return JSON.stringify({ cozebus: 1, ...said })
}

export function decodeSaid(userData: Uint8Array | null | undefined): Said | undefined {
  if (!userData || userData.byteLength === 0) return undefined
  try {
    const parsed = JSON.parse(Buffer.from(userData).toString()) as Said & { cozebus?: number }
    return parsed.cozebus === 1 ? parsed : undefined
  } catch {
    return undefined
  }
}

/**
 * Moves as few partitions as an even share allows, and takes none from a member that still has it: it is left out until its
 * owner has given it up and comes back, so that a key is never in two hands.
 */
export function assign(members: readonly Member[], counts: ReadonlyMap<string, number>): Assignment {
  const result: Assignment = new Map(members.map(({ id }) => [id, new Map()]))
  const owner = new Map<string, string>()
  for (const { id, said } of members)
    for (const [topic, partitions] of Object.entries(said?.owned ?? {}))
      for (const partition of partitions) owner.set(`${topic}/${partition}`, id)
  for (const topics of byLanes(members, counts)) {
    const readers = members.filter((member) => topics.every((topic) => member.topics.includes(topic)))
    const units = unitsOf(topics.map((topic) => counts.get(topic)!))
    const shared = share(units, readers, (unit) => owner.get(`${topics[0]}/${unit}`))
    for (const topic of topics) {
      const others = members.filter((member) => member.topics.includes(topic))
      for (let partition = 0; partition < counts.get(topic)!; partition++) {
        const wanted = shared[partition % units] ?? others[partition % Math.max(1, others.length)]?.id
        const now = owner.get(`${topic}/${partition}`)
        if (wanted === undefined || (now !== undefined && now !== wanted)) continue
        const own = result.get(wanted)!
        own.set(topic, [...(own.get(topic) ?? []), partition])
      }
    }
  }
  return result
}

/** Topics that share lanes, together. */
function byLanes(members: readonly Member[], counts: ReadonlyMap<string, number>): string[][] {
  const lanes = new Map<string, Set<string>>()
  for (const { topics, said } of members)
    for (const topic of topics) {
      if (!counts.has(topic)) continue
      const name = said?.lanes[topic] ?? topic
      lanes.set(name, (lanes.get(name) ?? new Set()).add(topic))
    }
  return [...lanes.values()].map((topics) => [...topics].sort())
}

function share(units: number, members: readonly Member[], ownerOf: (unit: number) => string | undefined): (string | undefined)[] {
  if (members.length === 0) return []
  const ids = members.map(({ id }) => id).sort()
  const room = new Map<string, number>()
  const held = new Map<string, number>()
  for (let unit = 0; unit < units; unit++) {
    const id = ownerOf(unit)
    if (id !== undefined) held.set(id, (held.get(id) ?? 0) + 1)
  }
  // Those that have most keep the odd ones.
  const order = [...ids].sort((a, b) => (held.get(b) ?? 0) - (held.get(a) ?? 0) || (a < b ? -1 : 1))
  for (const [i, id] of order.entries()) room.set(id, Math.floor(units / ids.length) + (i < units % ids.length ? 1 : 0))
  const take = (id: string | undefined): string | undefined => {
    const left = id === undefined ? 0 : (room.get(id) ?? 0)
    if (left > 0) room.set(id!, left - 1)
    return left > 0 ? id : undefined
  }
  const kept = Array.from({ length: units }, (_, unit) => take(ownerOf(unit)))
  return kept.map((id) => id ?? take(order.find((other) => room.get(other)! > 0)))
}

/** As every Kafka client does it: the partitions of a topic in a row, to its readers in the order of their ids. */
export function range(members: readonly Member[], counts: ReadonlyMap<string, number>): Assignment {
  const result: Assignment = new Map(members.map(({ id }) => [id, new Map()]))
  for (const [topic, count] of counts) {
    const readers = members
      .filter(({ topics }) => topics.includes(topic))
      .map(({ id }) => id)
      .sort()
    let partition = 0
    for (const [i, id] of readers.entries()) {
      const some = Math.floor(count / readers.length) + (i < count % readers.length ? 1 : 0)
      if (some > 0)
        result.get(id)!.set(
          topic,
          Array.from({ length: some }, () => partition++),
        )
    }
  }
  return result
}

/** Of topics that share lanes: those partitions may hold the same key whose numbers, divided by this, leave the same rest. */
export function unitsOf(counts: readonly number[]): number {
  return counts.reduce(gcd)
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b)
}
