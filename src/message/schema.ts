/** Issues of a Standard Schema in one line. */
export function issuesText(issues: readonly { readonly message: string; readonly path?: readonly unknown[] | undefined }[]): string {
  return issues
    .slice(0, 5)
    .map(({ message, path }) =>
      path?.length
        ? `${path.map((part) => (typeof part === 'object' && part !== null && 'key' in part ? String(part.key) : String(part))).join('.')}: ${message}`
        : message,
    )
    .join('; ')
}
