import type { Source, StorageName } from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'
import type { LogMember } from './log-member.ts'
import type { Owned } from './log-owned.ts'
import type { LogTopic } from './log-topic.ts'

interface Claim {
  readonly member: LogMember
  readonly epoch: number
}

/** What the broker knows of a group: offsets, members, and who owns which partition. */
export class LogGroup {
  readonly name: string
  readonly members: LogMember[] = []
  readonly committed = new Map<StorageName, number[]>()
  readonly filters = new Map<StorageName, string | undefined>()
  readonly #topic: (storage: StorageName) => LogTopic
  readonly #claims = new Map<string, Claim>()
  #epoch = 0

  constructor(name: string, topic: (storage: StorageName) => LogTopic) {
    this.name = name
    this.#topic = topic
  }

  /** Makes the group's place in the storage, where it has none. @throws BusError `filter_conflict` */
  admit({ storage, filter, from }: Source): void {
    const topic = this.#topic(storage)
    if (!this.committed.has(storage)) {
      this.committed.set(storage, topic.place(from === 'earliest' ? 'start' : from === 'new' ? 'end' : from, 0))
      this.filters.set(storage, filter)
    } else if (this.filters.get(storage) !== filter) {
      throw new BusError(
        'filter_conflict',
        `group '${this.name}' reads '${storage}' with filter ${this.filters.get(storage) ?? 'none'}, not ${filter ?? 'none'}; use another group name`,
      )
    }
  }

  join(member: LogMember): void {
    this.members.push(member)
    this.rebalance()
  }

  leave(member: LogMember): void {
    const i = this.members.indexOf(member)
    if (i < 0) return
    this.members.splice(i, 1)
    this.rebalance()
  }

  /** Everybody is out, as after a restart of the broker; offsets stay. */
  expelAll(): void {
    this.members.length = 0
    this.rebalance()
  }

  readers(storage: StorageName): LogMember[] {
    return this.members.filter(({ sources }) => sources.has(storage))
  }

  /** A member that was fenced out moves nothing. */
  commit(member: LogMember, { scope, epoch, commit }: Owned): void {
    const claim = this.#claims.get(scope)
    const { storage, index } = parseScope(scope)
    const offsets = this.committed.get(storage)
    if (claim?.member === member && claim.epoch === epoch && offsets) offsets[index] = commit
  }

  /** The topic is gone, its partitions and offsets with it. */
  forget(storage: StorageName): void {
    this.committed.delete(storage)
    this.filters.delete(storage)
    for (const [scope, { member, epoch }] of [...this.#claims]) {
      if (parseScope(scope).storage !== storage) continue
      this.#claims.delete(scope)
      member.revoke(scope, epoch)
    }
  }

  /** Moves as few partitions as an even share allows. */
  rebalance(): void {
    const wanted = this.#share()
    for (const [scope, { member, epoch }] of [...this.#claims]) {
      if (wanted.get(scope) === member) continue
      this.#claims.delete(scope)
      member.revoke(scope, epoch)
    }
    this.#epoch++
    for (const [scope, member] of wanted) {
      if (this.#claims.has(scope)) continue
      const { storage, index } = parseScope(scope)
      this.#claims.set(scope, { member, epoch: this.#epoch })
      member.assign(scope, storage, this.#epoch, this.#topic(storage).partitions[index]!, this.committed.get(storage)![index]!)
    }
  }

  // Storages that share lanes are shared out together: partition n of each goes to the same member, for a key has the
  // same number in all of them.
  #share(): Map<string, LogMember> {
    const lanes = new Map<string, Set<StorageName>>()
    for (const { sources } of this.members) {
      for (const { lanes: name, storage } of sources.values()) {
        const storages = lanes.get(name) ?? new Set()
        lanes.set(name, storages.add(storage))
      }
    }
    const wanted = new Map<string, LogMember>()
    for (const storages of lanes.values()) {
      const full = this.members.filter(({ sources }) => [...storages].every((storage) => sources.has(storage)))
      const [first] = storages
      const units = this.#topic(first!).partitions.length
      const owners = full.length > 0 ? this.#owners(first!, units, full) : []
      for (const storage of storages) {
        if (!this.committed.has(storage)) for (const member of this.readers(storage)) this.admit(member.sources.get(storage)!)
        const readers = this.readers(storage)
        for (let i = 0; i < units; i++) wanted.set(`${storage}/${i}`, owners[i] ?? readers[i % readers.length]!)
      }
    }
    return wanted
  }

  #owners(storage: StorageName, units: number, members: LogMember[]): LogMember[] {
    if (members.some(({ wholeTopic }) => wholeTopic)) return Array.from({ length: units }, () => members[0]!)
    const room = new Map(members.map((member, i) => [member, Math.floor(units / members.length) + (i < units % members.length ? 1 : 0)]))
    const take = (member: LogMember | undefined): LogMember | undefined => {
      const left = member === undefined ? 0 : (room.get(member) ?? 0)
      if (left > 0) room.set(member!, left - 1)
      return left > 0 ? member : undefined
    }
    const kept = Array.from({ length: units }, (_, i) => take(this.#claims.get(`${storage}/${i}`)?.member))
    return kept.map((member) => member ?? take(members.find((other) => room.get(other)! > 0))!)
  }
}

function parseScope(scope: string): { storage: StorageName; index: number } {
  const cut = scope.lastIndexOf('/')
  return { storage: scope.slice(0, cut), index: Number(scope.slice(cut + 1)) }
}
