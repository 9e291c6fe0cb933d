export const bodyOf = ({ size }: { readonly size: number }): Uint8Array => new Uint8Array(size).fill(65)

/** As JSON it has the size. */
export const questionOf = ({ size }: { readonly size: number }): { readonly text: string } => ({ text: 'A'.repeat(size - 11) })

/** A body that says when it was made, and how long ago that is, ms. */
export function stamped(size: number): Uint8Array {
  const body = new Uint8Array(size)
  new DataView(body.buffer).setFloat64(0, performance.now())
  return body
}
export const ageOf = (body: Uint8Array): number => performance.now() - new DataView(body.buffer, body.byteOffset).getFloat64(0)
