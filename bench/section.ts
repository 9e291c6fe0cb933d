import { type Case, measure, type Result } from './cases.ts'
import { machine } from './page.ts'

/** Cases that are measured in one kind of place. */
export interface Section<Place extends AsyncDisposable, One extends Case<Place> = Case<Place>> {
  /** What was measured, with versions. */
  readonly about: string
  readonly start: (one: One) => Promise<Place>
  readonly cases: Readonly<Record<string, One>>
}

export interface Report {
  readonly at: string
  readonly machine: string
  readonly about: string
  readonly cases: Readonly<Record<string, Result>>
}

/** Each case in a place of its own, which all its sides share. `only`: these and no others. */
export async function runSection<Place extends AsyncDisposable, One extends Case<Place>>(
  { about, start, cases }: Section<Place, One>,
  rounds: number,
  only: readonly string[] = Object.keys(cases),
): Promise<Report> {
  const results: Record<string, Result> = {}
  for (const name of only) {
    process.stderr.write(`measuring ${name}…\n`)
    const one = cases[name]!
    await using place = await start(one)
    results[name] = await measure(one, place, rounds)
  }
  return { at: new Date().toISOString(), machine: machine(), about, cases: results }
}
