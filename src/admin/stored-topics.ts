import { BusError } from '../errors.ts'
import { type Address, type AnyDefinition, topic as define } from '../topic/definition.ts'
import { isPattern, overlaps } from '../topic/pattern.ts'
import type { Admin } from './admin.ts'

/**
 * The topics as they are stored, for those that know only names (HTTP, a shell): which definition holds a name that a
 * program declared with parameters, and which storages a pattern meets.
 */
export class StoredTopics {
  readonly #admin: Pick<Admin, 'topics' | 'watch' | 'group'>
  /** One that was deleted stays: whoever reads it is told so by the engine. */
  readonly #names = new Set<string>()
  readonly #definitions: AnyDefinition[] = []
  #listed: Promise<void> | undefined
  #stop = (): void => {}

  constructor(admin: Pick<Admin, 'topics' | 'watch' | 'group'>) {
    this.#admin = admin
  }

  close(): void {
    this.#stop()
  }

  /** Resolves once those that exist are known; new ones are told from then on. */
  async #ready(): Promise<void> {
    if (!this.#listed) {
      this.#stop = this.#admin.watch((storage) => this.#add(storage))
      this.#listed = this.#list()
      this.#listed.catch(() => {
        this.#stop()
        this.#listed = undefined
      })
    }
    await this.#listed
  }

  async #list(): Promise<void> {
    for (const { storage } of await this.#admin.topics()) this.#add(storage)
  }

  #add(storage: string): void {
    if (this.#names.has(storage)) return
    this.#names.add(storage)
    if (!isPattern(storage)) return
    const template = storage.split('.').map((token, i) => (token === '*' ? `{p${i}}` : token))
    this.#definitions.push(define(template.join('.')))
  }

  #definitionOf(name: string): AnyDefinition | undefined {
    return this.#definitions.find((definition) => definition.parse(name) !== undefined)
  }

  /** Where the name is published and read: the definition that holds it, else the name itself. Patterns stay what they are. */
  async place(topic: string): Promise<string | Address> {
    if (isPattern(topic)) return topic
    await this.#ready()
    const definition = this.#definitionOf(topic)
    return definition ? { definition, name: topic } : topic
  }

  /**
   * The storage of a group that is asked for by the topic's name. By one name of a definition only a group that takes this name
   * alone: what is done to a group is done to all that it takes.
   * @throws BusError `not_found`
   */
  async storageOfGroup(topic: string, group: string): Promise<string> {
    const storage = await this.storage(topic)
    if (storage !== topic && (await this.#admin.group(storage, group)).filter !== topic)
      throw new BusError(
        'not_found',
        `topic '${topic}' has no group '${group}' of its own: the one of that name takes other names of '${storage}' too; ask for '${storage}'`,
      )
    return storage
  }

  /** Where the messages of the topic are. @throws BusError `not_found` */
  async storage(topic: string): Promise<string> {
    await this.#ready()
    const find = (): string | undefined => (this.#names.has(topic) ? topic : this.#definitionOf(topic)?.storage)
    let found = find()
    if (found === undefined) {
      // Made by another process a moment ago?
      await this.#list()
      found = find()
    }
    if (found === undefined)
      throw new BusError('not_found', `there is no topic '${topic}'; publish to it or subscribe first, or look at the list of topics`)
    return found
  }

  /** Every storage that may hold messages of the name or pattern. */
  async meeting(topic: string): Promise<string[]> {
    await this.#ready()
    return [...this.#names].filter((storage) => overlaps(topic, storage))
  }
}
