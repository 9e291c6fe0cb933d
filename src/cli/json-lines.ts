import { BusError } from '../errors.ts'
import { parseJson } from './output.ts'

/** Lines of UTF-8. @throws BusError `invalid_message` for other bytes: a replaced character would be another body */
async function* linesOf(input: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const decode = (chunk?: Uint8Array): string => {
    try {
      return decoder.decode(chunk, { stream: chunk !== undefined })
    } catch (error) {
      throw new BusError('invalid_message', 'standard input is no UTF-8; send bytes by --raw', { cause: error })
    }
  }
  let rest = ''
  for await (const chunk of input) {
    const text = decode(chunk)
    const end = text.lastIndexOf('\n')
    if (end < 0) {
      rest += text
      continue
    }
    yield* (rest + text.slice(0, end)).split('\n')
    rest = text.slice(end + 1)
  }
  yield rest + decode()
}

/** One JSON value a line; empty lines are passed over. @throws BusError `invalid_message` that names the line */
export async function* jsonLines(input: AsyncIterable<Uint8Array>): AsyncGenerator<unknown> {
  let line = 0
  for await (const text of linesOf(input)) {
    line++
    if (text.trim() !== '') yield parseJson(text, `line ${line}`)
  }
}
