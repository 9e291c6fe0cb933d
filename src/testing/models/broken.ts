import type { Capabilities, Engine } from '../../engines/engine.ts'
import { brokenDelivering } from './broken-delivering.ts'
import { brokenPublishing } from './broken-publishing.ts'
import { brokenSettling } from './broken-settling.ts'
import { brokenSubscribing } from './broken-subscribing.ts'

/** An engine with one defect, to find out whether a suite would notice. */
export interface BrokenEngine {
  readonly name: string
  /** The delivery rule it breaks: a suite has to fail for it. */
  readonly rule: 'R1' | 'R2' | 'R3' | 'R4' | 'R5' | 'R6' | 'R7' | 'R9' | 'R10' | 'R12'
  readonly breaks: string
  /** Whether the defect can show on an engine with these capabilities; absent = on any. */
  readonly shows?: (capabilities: Capabilities) => boolean
  /** Uses the contract only. Wrap each engine of a broker: members know each other through the group's name. */
  wrap(engine: Engine): Engine
}

export const brokenEngines: readonly BrokenEngine[] = [...brokenPublishing, ...brokenSubscribing, ...brokenDelivering, ...brokenSettling]
