/** What keeps a member from something while it lasts: told once, and shown as long as it is so. */
export class Troubles {
  readonly #warned: (text: string) => void
  readonly #texts = new Map<string, string>()

  constructor(warned: (text: string) => void) {
    this.#warned = warned
  }

  /** `what`: of this there is one trouble at a time. */
  set(what: string, text: string): void {
    if (this.#texts.has(what)) return
    this.#texts.set(what, text)
    this.#warned(text)
  }

  over(what: string): void {
    if (this.#texts.size > 0) this.#texts.delete(what)
  }

  get text(): string | undefined {
    return this.#texts.size === 0 ? undefined : [...this.#texts.values()].join('; ')
  }
}

/** No topic's name: of the group. */
export const membershipOf = ' membership'
export const beginningOf = ' beginning'
/** A topic's name is the trouble of reading it. */
export const commitsOf = (topic: string): string => `commits of ${topic}`
