import { type ChildProcess, spawn } from 'node:child_process'
import { copyFileSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { sha256 } from '../../examples/knowledge/catalogue.ts'
import { DocumentIndex } from '../../examples/knowledge/document-index.ts'
import { documents, group, openBus } from '../../examples/knowledge/documents.ts'
import { split } from '../../examples/knowledge/split.ts'

function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cozebus-knowledge-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** Real documents: every Markdown file that our dependencies ship, and declarations, which are mostly prose too. */
function copyDocuments(folder: string): string[] {
  const markdown = globSync('node_modules/**/*.md').toSorted()
  const declarations = globSync('node_modules/**/*.d.ts').filter((file) => statSync(file).size < 20_000)
  return [...markdown, ...declarations.toSorted().slice(0, 150)].map((file, i) => {
    const path = join(folder, `${Math.floor(i / 50)}`, `${i}-${basename(file)}`)
    mkdirSync(join(path, '..'), { recursive: true })
    copyFileSync(file, path)
    return path
  })
}

class Example {
  readonly child: ChildProcess
  /** The process in each worker's place. */
  readonly pids = new Map<string, number>()
  started = 0
  output = ''
  readonly ended: Promise<number | null>

  constructor(...args: string[]) {
    this.child = spawn(process.execPath, ['examples/knowledge/main.ts', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    const read = (chunk: Buffer): void => {
      this.output += chunk
      this.started = 0
      for (const [, number, pid] of this.output.matchAll(/^worker (\d+): pid (\d+)$/gm)) {
        this.pids.set(number!, Number(pid))
        this.started++
      }
    }
    this.child.stdout!.on('data', read)
    this.child.stderr!.on('data', read)
    this.ended = new Promise((resolve) => this.child.once('close', resolve))
    onTestFinished(() => void this.child.kill('SIGKILL'))
  }

  killOneWorker(): void {
    const pids = [...this.pids.values()]
    try {
      process.kill(pids[Math.floor(Math.random() * pids.length)]!, 'SIGKILL')
    } catch {
      // It died a moment ago and is being started again.
    }
  }
}

test('hundreds of documents, workers killed meanwhile: each is indexed once with its newest text, a broken one after replay', async () => {
  const [folder, store] = [temporary(), temporary()]
  const files = copyDocuments(folder)
  expect(files.length).toBeGreaterThan(250)
  const broken = join(folder, 'broken.md')
  // Bytes that are no UTF-8 cannot be read by anyone; a mode of 000 would not stop a test that runs as root.
  writeFileSync(broken, Buffer.concat([readFileSync(files[0]!), Buffer.from([0xff, 0xfe, 0xff])]))

  const run = new Example(folder, '--store', store, '--types', 'md,ts', '--workers', '3', '--pace', '100', '--watch')
  await expect.poll(() => run.started, { timeout: 10_000 }).toBe(3)
  await using bus = await openBus(store)
  const desk = bus.admin.deadLetters(documents, group)
  const state = async () => (await bus.admin.groups(documents)).find((info) => info.group === group)
  await expect.poll(async () => (await state())?.members ?? 0, { timeout: 10_000 }).toBe(3)

  const changed = files.slice(0, 20)
  const deleted = files.slice(20, 40)
  for (let round = 0; round < 6; round++) {
    await pause(300 + Math.random() * 300)
    run.killOneWorker()
    // Every changed file changes in each round: updates of one document queue up, and only the last may stay.
    for (const file of changed) writeFileSync(file, `# Changed\n\nround${round}xyzzy of ${basename(file)}\n`)
    if (round === 2) for (const file of deleted) rmSync(file)
  }
  expect(run.started).toBeGreaterThan(3)
  const expected = new Map(files.filter((file) => !deleted.includes(file)).map((file) => [file, readFileSync(file)]))
  const index = new DocumentIndex(store)
  const indexed = (): string[] => index.documents().map(({ path, digest, pieces }) => `${path} ${digest} ${pieces}`)
  const wanted = (): string[] =>
    [...expected].map(([path, bytes]) => `${path} ${sha256(bytes)} ${split(bytes.toString()).length}`).toSorted()
  await expect.poll(async () => [await desk.count(), (await state())?.lag], { timeout: 20_000 }).toEqual([1, 0])
  await expect.poll(indexed, { timeout: 10_000 }).toEqual(wanted())
  expect(await desk.list()).toMatchObject([{ key: broken, attempts: 4, error: expect.stringContaining('not valid') }])
  run.child.kill('SIGINT')
  expect(await run.ended).toBe(0)

  writeFileSync(broken, '# Mended\n\nplughwords are here\n')
  const replay = new Example('replay', '--store', store)
  expect(await replay.ended, replay.output).toBe(0)
  expected.set(broken, readFileSync(broken))
  expect(await desk.count()).toBe(0)
  expect(indexed()).toEqual(wanted())
  // In the full text too, each piece is there once.
  expect(index.stored).toBe(index.size.pieces)
  expect(index.search('plughwords').map(({ path }) => path)).toEqual([broken])
  expect(index.search('round5xyzzy', 100).length).toBe(20)
  expect(index.search('round4xyzzy')).toEqual([])
  index.close()

  const search = new Example('search', 'plughwords', '--store', store)
  await search.ended
  expect(search.output).toContain('broken.md')
  const again = new Example(folder, '--store', store, '--types', 'md,ts')
  expect(await again.ended).toBe(0)
  expect(again.output).toContain('0 added, 1 updated, 0 deleted')
}, 60_000)

test('a late writer is refused by its fence, also after a deletion', () => {
  const index = new DocumentIndex(temporary())
  index.put('a', 'first', ['one'], 5)
  index.put('a', 'again', ['two', 'three'], 5)
  expect(() => index.put('a', 'late', ['four'], 4)).toThrow('a later owner has written it')
  expect(index.documents()).toEqual([{ path: 'a', digest: 'again', pieces: 2 }])
  index.remove('a', 7)
  expect(() => index.put('a', 'late', ['five'], 6)).toThrow('a later owner has written it')
  expect([index.documents(), index.stored]).toEqual([[], 0])
  index.close()
})

test('what it cannot do is said with exit code 2', async () => {
  for (const [args, text] of [
    [[], 'say which folder'],
    [['/no/such/folder'], 'is no folder'],
    [['--workers', 'x', '.'], '--workers must be a whole number'],
    [['--nonsense'], 'nonsense'],
  ] as const) {
    const run = new Example(...args, '--store', temporary())
    expect(await run.ended, run.output).toBe(2)
    expect(run.output).toContain(text)
  }
})
