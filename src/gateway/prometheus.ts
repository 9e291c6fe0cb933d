export type Row = readonly [labels: Readonly<Record<string, string>>, value: number]

/** Prometheus text format 0.0.4, family by family. */
export class Exposition {
  readonly #lines: string[] = []

  add(name: string, type: 'counter' | 'gauge', help: string, rows: readonly Row[]): void {
    if (rows.length === 0) return
    this.#lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`)
    for (const [labels, value] of rows) this.#lines.push(`${name}${render(labels)} ${value}`)
  }

  toString(): string {
    return `${this.#lines.join('\n')}\n`
  }
}

function render(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${quoted(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function quoted(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
