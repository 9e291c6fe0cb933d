const pieceLength = 1000

/** Splits a text into pieces of about a thousand characters: at paragraphs, and where one is longer than two pieces, at the length. */
export function split(text: string): string[] {
  const pieces: string[] = []
  let piece = ''
  for (const paragraph of text.split(/\r?\n\s*\n/)) {
    if (piece !== '' && piece.length + paragraph.length > pieceLength) {
      pieces.push(piece)
      piece = ''
    }
    piece += `${paragraph}\n\n`
    while (piece.length > pieceLength * 2) {
      pieces.push(piece.slice(0, pieceLength))
      piece = piece.slice(pieceLength)
    }
  }
  pieces.push(piece)
  return pieces.filter((one) => one.trim() !== '')
}
