import { expect } from 'vitest'
import type { Finding } from '../src/engines/engine.ts'

/** Something that a doctor says. */
export const having = (level: Finding['level'], check: string, detail: RegExp, advice = /./) =>
  expect.objectContaining({ level, check, detail: expect.stringMatching(detail), advice: expect.stringMatching(advice) })
