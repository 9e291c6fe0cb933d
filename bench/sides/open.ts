import type { Work } from './work.ts'

type Library = typeof import('../../src/index.ts')

export async function open({ library, url, nats }: Work): Promise<Awaited<ReturnType<Library['connect']>>> {
  const { connect } = (await import(library)) as Library
  return connect(url, { nats })
}
