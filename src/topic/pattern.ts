/** `*` stands for one token, `>` at the end for one or more. */
export function isPattern(text: string): boolean {
  return text.includes('*') || text.includes('>')
}

/**
 * A function that tells whether a name matches the pattern, made once and cheap to call.
 * A pattern without wildcards compares text.
 */
export function matcher(pattern: string): (name: string) => boolean {
  if (pattern === '>') return () => true
  if (!isPattern(pattern)) return (name) => name === pattern
  const tokens = pattern.split('.')
  const open = tokens.at(-1) === '>'
  const fixed = open ? tokens.length - 1 : tokens.length
  return (name) => {
    const parts = name.split('.')
    if (open ? parts.length <= fixed : parts.length !== fixed) return false
    for (let i = 0; i < fixed; i++) if (tokens[i] !== '*' && tokens[i] !== parts[i]) return false
    return true
  }
}

/** Whether some name matches both patterns. */
export function overlaps(a: string, b: string): boolean {
  const left = a.split('.')
  const right = b.split('.')
  for (let i = 0; ; i++) {
    const l = left[i]
    const r = right[i]
    if (l === undefined || r === undefined) return l === r
    if (l === '>' || r === '>') return true
    if (l !== r && l !== '*' && r !== '*') return false
  }
}

/** Whether every name that matches `inner` matches `outer` too. */
export function covers(outer: string, inner: string): boolean {
  const o = outer.split('.')
  const n = inner.split('.')
  for (let i = 0; ; i++) {
    if (o[i] === undefined || n[i] === undefined) return o[i] === n[i]
    if (o[i] === '>') return true
    if (n[i] === '>') return false
    if (o[i] !== n[i] && o[i] !== '*') return false
  }
}
