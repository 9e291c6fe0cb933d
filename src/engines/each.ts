/** So many at a time; the answers in their order. */
export async function each<In, Out>(all: readonly In[], together: number, action: (one: In) => Promise<Out>): Promise<Out[]> {
  const found: Out[] = []
  for (let i = 0; i < all.length; i += together) found.push(...(await Promise.all(all.slice(i, i + together).map((one) => action(one)))))
  return found
}
