import { cpus } from 'node:os'
import { brokers } from './brokers.ts'
import { linesOf } from './lines.ts'
import { type Rates, type Side, type Spread, size } from './rates.ts'
import type { Kept, Rules } from './rules.ts'

/** The two parts of docs/engines.md that are measured, by the mark they stand under. */
export type Part = 'rules' | 'rates'

const row = (...cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`

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
    `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model?.trim()}, ${process.platform}; ${size}-byte bodies, median of ${rounds} rounds (least to most):`,
    '',
    row('engine', 'what', 'cozebus: messages a second; s of processor a million', 'beside it', 'ours against it'),
    row('---', '---', '---', '---', '---'),
    ...lines,
    '',
  ].join('\n')
}

const side = ({ rate, cpu }: Side): string => `${thousands(rate)}; ${cpu.median.toFixed(1)} s`
const thousands = ({ median, least, most }: Spread): string => `${k(median)} (${k(least)} to ${k(most)})`
const k = (value: number): string => `${(value / 1000).toFixed(1)} k`
const times = (ratio: number): string => `${ratio.toFixed(2)} ×`

/** The page with this part replaced. @throws Error when the mark is not there */
export function withPart(page: string, part: Part, text: string): string {
  const [begin, end] = [`<!-- ${part}: npm run engines -- ${part} --save -->`, `<!-- end of ${part} -->`]
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`docs/engines.md has no place for ${part}`)
  return `${page.slice(0, from + begin.length)}\n${text.trimEnd()}\n${page.slice(to)}`
}
