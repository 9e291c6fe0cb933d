import type { Queue } from './cluster.ts'

/**
 * What a broker keeps beside the place of a group in a queue, in the same table, as places in queues that are none. Beside each
 * queue: the count of owners, who owns it (0: nobody, it was given up), who asked last for its lock, which messages past the
 * place are settled, and which owner of it died. Beside the topic: the life of the broker in which all owners were heard.
 * `gate` is locked, by who puts the group where it begins.
 */
export const beside = {
  epoch: 1_000_000,
  owner: 2_000_000,
  claimant: 3_000_000,
  settled: 4_000_000,
  calm: 5_000_000,
  dead: 6_000_000,
  gate: 7_000_000,
} as const

/** The place where it keeps one of those that are beside each queue, by its number. */
export const besideOf = ({ broker, id }: Queue, what: number): Queue => ({ broker, id: what + id })

/** An owner as a number: of 48 bits, as a broker keeps those. */
export const numberOfOwner = (owner: string): number => Number.parseInt(owner, 16)

/** And back; 0: nobody. */
export const ownerOf = (number: number | undefined): string | undefined =>
  number === undefined || number === 0 ? undefined : number.toString(16).padStart(12, '0')
