import type { Figures, Metric } from './figures.ts'
import { type Spread, spread } from './spread.ts'

/** One way of doing what a case is about, measured anew in each round. */
export type Side<Place> = (place: Place, round: number) => Promise<Figures>

/** What is asked of a side: of the figure itself, or `against` another side of it as many times that one's, round by round. */
export interface Goal {
  readonly side: string
  readonly against?: string
  readonly metric: Metric
  readonly atLeast?: number
  readonly atMost?: number
}

export interface Case<Place> {
  readonly title: string
  /** Once, before the first round; not measured. */
  readonly prepare?: (place: Place) => Promise<void>
  readonly sides: Readonly<Record<string, Side<Place>>>
  readonly goals: readonly Goal[]
  /** One round and no other to warm up: what is long enough by itself. */
  readonly once?: true
}

export interface Judged extends Goal {
  readonly value: Spread
  readonly met: boolean
}

export interface Result {
  readonly title: string
  readonly rounds: number
  readonly sides: Readonly<Record<string, Readonly<Partial<Record<Metric, Spread>>>>>
  readonly goals: readonly Judged[]
}

/** Sides in turn, forwards and backwards, so that a slow moment of the machine falls on all of them; a first round warms up and counts nowhere. */
export async function measure<Place>(one: Case<Place>, place: Place, asked: number): Promise<Result> {
  const rounds = one.once ? 1 : asked
  await one.prepare?.(place)
  const measured = new Map(Object.keys(one.sides).map((name) => [name, [] as Figures[]]))
  for (let round = one.once ? 1 : 0; round <= rounds; round++) {
    const order = Object.entries(one.sides)
    for (const [name, side] of round % 2 === 0 ? order : order.reverse()) {
      const figures = await side(place, round)
      if (round > 0) measured.get(name)!.push(figures)
    }
  }
  return {
    title: one.title,
    rounds,
    sides: Object.fromEntries([...measured].map(([name, all]) => [name, spreads(all)])),
    goals: one.goals.map((goal) => judge(goal, measured)),
  }
}

function spreads(all: readonly Figures[]): Partial<Record<Metric, Spread>> {
  const names = Object.keys(all[0]!) as Metric[]
  return Object.fromEntries(names.filter((name) => all[0]![name] !== undefined).map((name) => [name, spread(all.map((one) => one[name]!))]))
}

function judge(goal: Goal, measured: ReadonlyMap<string, readonly Figures[]>): Judged {
  const of = (side: string): number[] =>
    measured.get(side)!.map((figures) => {
      const figure = figures[goal.metric]
      if (figure === undefined) throw new Error(`'${side}' has no ${goal.metric}, which a goal is about`)
      return figure
    })
  const peer = goal.against === undefined ? undefined : of(goal.against)
  const value = spread(of(goal.side).map((figure, i) => (peer === undefined ? figure : figure / peer[i]!)))
  return { ...goal, value, met: value.median >= (goal.atLeast ?? -Infinity) && value.median <= (goal.atMost ?? Infinity) }
}
