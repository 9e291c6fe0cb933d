import type { Judged, Result } from './cases.ts'
import { metrics } from './figures.ts'
import { row, thousands, times } from './page.ts'
import type { Report } from './section.ts'
import type { Spread } from './spread.ts'

/** The report as a page shows it: a line a side, each goal in the line of the side it is asked of. */
export function table(report: Report): string {
  const { machine, about, cases } = report
  const results = Object.entries(cases)
  const goals = results.flatMap(([, result]) => result.goals).length
  const missed = missedOf(report)
  return [
    `${machine}; ${about}. The middle of ${[...new Set(results.map(([, { rounds }]) => rounds))].join(' or ')} rounds (least to most):`,
    '',
    row('case', 'side', 'messages a second', 's of processor a million', 'MB', 'ms: p50, p99, p99.9', 'goals'),
    row(...Array<string>(7).fill('---')),
    ...results.flatMap(([name, result]) => lines(name, result)),
    '',
    ...(missed.length === 0 ? [`All of ${goals} goals met.`] : [`Missed, of ${goals} goals:`, '', ...missed.map((one) => `- ${one}`)]),
  ].join('\n')
}

function lines(name: string, { title, sides, goals }: Result): string[] {
  return Object.entries(sides).map(([side, figures], i) =>
    row(
      i === 0 ? `**${name}**: ${title}` : '',
      side,
      figures.rate ? spanned(figures.rate, thousands) : '',
      figures.cpu ? spanned(figures.cpu, tenths) : '',
      figures.peak ? figures.peak.median.toFixed(0) : '',
      figures.took
        ? spanned(figures.took, tenths)
        : [figures.p50, figures.p99, figures.p999].flatMap((one) => one?.median.toFixed(2) ?? []).join(', '),
      goals
        .filter((goal) => goal.side === side)
        .map(goalText)
        .join('<br>'),
    ),
  )
}

/** What was asked, what came, and whether that is enough. */
export function goalText({ against, metric, atLeast, atMost, value, met }: Judged): string {
  const bound = [...(atLeast === undefined ? [] : [`at least ${atLeast}`]), ...(atMost === undefined ? [] : [`at most ${atMost}`])].join(
    ', ',
  )
  const figure = spanned(value, against === undefined ? exact : times)
  return `${metrics[metric]} ${figure}${against === undefined ? '' : ` of ${against}`}, ${bound}: ${met ? 'met' : '**missed**'}`
}

/** A growth of 1.14 is not one of 1.1. */
const exact = (value: number): string => value.toFixed(value < 10 ? 2 : 1)
const tenths = (value: number): string => value.toFixed(1)
const spanned = ({ median, least, most, rounds }: Spread, text: (value: number) => string): string =>
  rounds.length === 1 ? text(median) : `${text(median)} (${text(least)} to ${text(most)})`

/** The goals that were missed, by their cases. */
export const missedOf = ({ cases }: Report): string[] =>
  Object.entries(cases).flatMap(([name, { goals }]) =>
    goals.filter(({ met }) => !met).map((goal) => `${name}, ${goal.side}: ${goalText(goal)}`),
  )
