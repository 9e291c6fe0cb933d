import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const source = join(import.meta.dirname, '..', '..', 'src', 'engines')

/** Lines of an engine's folder that are neither empty nor a comment. */
export function linesOf(engine: string): number {
  let lines = 0
  for (const file of globSync(join(source, engine, '**', '*.ts')))
    for (const line of readFileSync(file, 'utf8').split('\n')) if (/\S/.test(line) && !/^\s*(\/\/|\/\*|\*)/.test(line)) lines++
  return lines
}
