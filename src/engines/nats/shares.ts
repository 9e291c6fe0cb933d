/** When a member last showed that it lives, by our own clock. */
export interface Beat {
  readonly at: number
  readonly ttlMs: number
  /** Of its key, when the bucket was read; 0 = heard only. */
  readonly revision: number
}

export interface Share {
  readonly live: ReadonlySet<string>
  /** How many parts are ours to have. */
  readonly fair: number
  /** Where to begin to look for one: everybody elsewhere, so that few come to the same. */
  readonly first: number
}

/**
 * Every member has as many parts as any other, or one more; those who have one more already keep it, so that nothing
 * moves without need. With more members than parts some stand by.
 */
export function shareOf(
  self: string,
  parts: number,
  owned: ReadonlyMap<number, string>,
  beats: ReadonlyMap<string, Beat>,
  now: number,
): Share {
  const counts = new Map<string, number>([[self, 0]])
  for (const [member, { at, ttlMs }] of beats) if (now - at < ttlMs * 1.25) counts.set(member, 0)
  for (const owner of owned.values()) {
    const count = counts.get(owner)
    if (count !== undefined) counts.set(owner, count + 1)
  }
  const ranks = [...counts].sort(([a, countA], [b, countB]) => countB - countA || (a < b ? -1 : 1)).map(([member]) => member)
  const rank = ranks.indexOf(self)
  return {
    live: new Set(ranks),
    fair: Math.floor(parts / ranks.length) + (rank < parts % ranks.length ? 1 : 0),
    first: Math.floor((rank * parts) / ranks.length) % parts,
  }
}
