import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '..', '..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** Each subpath with the names it exports, types marked as such. */
function surface(): string {
  const config = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  const entries = Object.entries(manifest.exports as Record<string, string | { default: string }>).map(([subpath, target]) => {
    const built = typeof target === 'string' ? target : target.default
    return { subpath, source: join(root, built.replace('./dist/', './src/').replace(/\.js$/, '.ts')) }
  })
  const program = ts.createProgram(
    entries.map(({ source }) => source).filter((source) => source.endsWith('.ts')),
    options,
  )
  const checker = program.getTypeChecker()
  const lines = entries.flatMap(({ subpath, source }) => {
    const file = program.getSourceFile(source)
    const module = file && checker.getSymbolAtLocation(file)
    const names = module ? checker.getExportsOfModule(module).map((symbol) => `  ${kindOf(checker, symbol)}${symbol.name}`) : []
    return [subpath, ...names.toSorted()]
  })
  return `${lines.join('\n')}\n`
}

function kindOf(checker: ts.TypeChecker, symbol: ts.Symbol): string {
  const typeOnly = symbol.declarations?.some((one) => ts.isExportSpecifier(one) && ts.isTypeOnlyExportDeclaration(one))
  const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  return typeOnly || !(target.flags & ts.SymbolFlags.Value) ? 'type ' : ''
}

test('the public names are those of surface.txt: a change there is a decision, made with `npx vitest run test/package/surface.test.ts -u`', async () => {
  await expect(surface()).toMatchFileSnapshot('surface.txt')
}, 60_000)
