import { execFile } from 'node:child_process'
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'

const root = join(import.meta.dirname, '..', '..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const readme = readFileSync(join(root, 'README.md'), 'utf8')

/** The anchors of a page, as GitHub makes them. */
function anchorsOf(page: string): string[] {
  return [...page.matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

test('every link of a page leads to a file, and to a heading of it', () => {
  const pages = ['*.md', 'docs/**/*.md', 'examples/**/*.md'].flatMap((pattern) => globSync(pattern, { cwd: root }))
  expect(pages.length).toBeGreaterThan(6)
  const broken: string[] = []
  for (const page of pages) {
    const text = readFileSync(join(root, page), 'utf8').replaceAll(/^```.*?^```/gms, '')
    for (const [, link] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link!)) continue
      const [path, anchor] = link!.split('#') as [string, string | undefined]
      const file = path === '' ? join(root, page) : join(root, dirname(page), path)
      if (!existsSync(file) || (anchor !== undefined && !anchorsOf(readFileSync(file, 'utf8')).includes(anchor)))
        broken.push(`${page}: ${link}`)
    }
  }
  expect(broken).toEqual([])
})

test('the README is short, leads with what it does and the two commands, and names scripts that exist', () => {
  const lines = readme.split('\n')
  expect(lines.length).toBeLessThanOrEqual(150)
  const start = lines.findIndex((line) => line.startsWith('npm start'))
  expect(start).toBeGreaterThan(2)
  expect(start).toBeLessThan(15)
  expect(lines[start + 1]).toMatch(/^npm test/)
  const scripts = [...readme.matchAll(/npm run ([\w:]+)/g)].map(([, name]) => name!)
  expect(scripts.filter((name) => !(name in manifest.scripts))).toEqual([])
  expect(readme).toContain('Node 22.22 or later of 22, or 24.6 and later')
  expect(manifest.engines.node).toBe('^22.22 || >=24.6')
})

test('each line of its shell example works, one after the other', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'cozebus-readme-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const block = /## From a shell\n\n```sh\n(.*?)```/s.exec(readme)![1]!
  const lines = block.trim().split('\n')
  const printed: string[] = []
  for (const line of lines) {
    expect(line).toMatch(/^npm run cozebus -- /)
    const command = line.replace('npm run cozebus --', `"${process.execPath}" "${join(root, 'src/cli/main.ts')}"`)
    const env = { ...process.env, COZEBUS_URL: `file:${dir}`, NO_COLOR: '1' }
    const { stdout } = await promisify(execFile)('bash', ['-c', command], { env })
    printed.push(stdout)
  }
  const [, sub, groups, , doctor] = printed
  expect(sub).toContain('{"documentId":"d1"}')
  expect(groups).toMatch(/^printer\b.*\b0\b/m)
  expect(doctor).not.toContain('FAIL')
}, 60_000)
