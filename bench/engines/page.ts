import { machine, row, thousands, times } from '../page.ts'
import type { Spread } from '../spread.ts'
import { brokers } from './brokers.ts'
import { linesOf } from './lines.ts'
import { type Rates, type Side, size } from './rates.ts'
import type { Kept, Rules } from './rules.ts'

/** The two parts of docs/engines.md that are measured, by the mark they stand under. */
export type Part = 'rules' | 'rates'

export function rulesPart(rules: Rules): string {
  const engines = ['embedded', 'memory', ...Object.keys(brokers)].filter((name) => rules.has(name))
  const names = [...new Set([...rules.values()].flatMap((of) => [...of.keys()]))].sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)))
  const table = [
    row('rule', ...engines.map((engine) => `\`${engine}\``)),
    row('---', ...engines.map(() => '---')),
    ...names.map((rule) => row(`[${rule}](guarantees.md)`, ...engines.map((engine) => cell(rules.get(engine)!.get(rule))))),
    row('lines of code', ...engines.map((engine) => (engine === 'memory' ? 'as `embedded`' : linesOf(engine)))),
  ]
  return [...table, '', ...engines.flatMap((engine) => notApplying(engine, rules.get(engine)!))].join('\n')
}

function cell(kept: Kept | undefined): string {
  if (kept === undefined) return '–'
  const left = new Set([...kept.left.values()].flatMap((titles) => [...titles])).size
  const parts = [
    `${kept.passed.size} passed`,
    ...(left > 0 ? [`${left} not applying`] : []),
    ...(kept.failed.size > 0 ? [`**${kept.failed.size} failed**`] : []),
  ]
  return parts.join(', ')
}

/** The tests that do not apply to an engine, by its reasons. */
function notApplying(engine: string, rules: ReadonlyMap<string, Kept>): string[] {
  const reasons = new Map<string, string[]>()
  for (const { left } of rules.values()) for (const [why, titles] of left) reasons.set(why, [...(reasons.get(why) ?? []), ...titles])
  if (reasons.size === 0) return [`All of them apply to \`${engine}\`.`, '']
  return [
    `Not applying to \`${engine}\`:`,
    '',
    ...[...reasons].map(([why, titles]) => `- ${why}: ${titles.map((title) => `“${title}”`).join(', ')}`),
    '',
  ]
}

export function ratesPart(all: ReadonlyMap<string, Rates>, rounds: number): string {
  const lines = [...all].flatMap(([engine, rates]) => {
    const { broker, peer } = brokers[engine]!
    return (['publish', 'consume'] as const).map((phase) => {
      const { ours, peer: theirs, ratio } = rates[phase]
      return row(
        `${engine} (${broker})`,
        phase,
        side(ours),
        `${peer.title}: ${side(theirs)}`,
        `${times(ratio.median)} (${times(ratio.least)} to ${times(ratio.most)})`,
      )
    })
  })
  return [
    `${machine()}; ${size}-byte bodies, median of ${rounds} rounds (least to most):`,
    '',
    row('engine', 'what', 'cozebus: messages a second; s of processor a million', 'beside it', 'ours against it'),
    row('---', '---', '---', '---', '---'),
    ...lines,
    '',
  ].join('\n')
}

const side = ({ rate, cpu }: Side): string => `${spanned(rate)}; ${cpu.median.toFixed(1)} s`
const spanned = ({ median, least, most }: Spread): string => `${thousands(median)} (${thousands(least)} to ${thousands(most)})`
