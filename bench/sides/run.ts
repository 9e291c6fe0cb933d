// A side in a process of its own: `node run.ts <file> <side> <work>` prints what it measured as one line of JSON.
import type { Figures } from '../figures.ts'
import { peakOf } from './watch.ts'
import type { Work } from './work.ts'

const [file, name, work] = process.argv.slice(2) as [string, string, string]
const sides = (await import(file)) as Readonly<Record<string, (work: Work) => Promise<Figures>>>
try {
  const figures = await sides[name]!(JSON.parse(work))
  process.stdout.write(`${JSON.stringify({ ...figures, peak: peakOf('self') })}\n`)
} catch (error) {
  // Its message last, as that is what whoever started this shows.
  process.stderr.write(`${error instanceof Error ? error.stack : ''}\n${name}: ${error instanceof Error ? error.message : error}\n`)
  process.exit(1)
}
