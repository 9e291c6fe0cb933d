import type { Capabilities, Engine } from '../../engines/engine.ts'
import type { Harness, Subject } from '../harness.ts'

/** One test of the suite. */
export interface Case {
  readonly rule: string
  readonly name: string
  /** Why it does not apply to an engine of these capabilities; undefined = it does. */
  readonly skip?: (capabilities: Capabilities, engine: Engine, subject: Subject) => string | undefined
  /** It applies to an engine that stores nothing, too. */
  readonly unstored?: true
  readonly run: (h: Harness, seed: number) => Promise<void>
}

export function equal(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (a !== b) throw new Error(`${what}: got ${a}, expected ${b}`)
}

export function ok(condition: boolean, what: string): void {
  if (!condition) throw new Error(what)
}

/** The code of the BusError that the call ends with. */
export async function codeOf(call: () => Promise<unknown>): Promise<string> {
  try {
    await call()
  } catch (error) {
    return (error as { code?: string }).code ?? `no BusError but ${String(error)}`
  }
  return 'no error'
}
