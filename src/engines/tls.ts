/** What a client says whom it wants; an address is no name, and refused as one. */
export function serverNameOf(host: string): { servername?: string } {
  return /^[\d.]+$|:/.test(host) ? {} : { servername: host }
}

/** Whether it is TLS that failed, and not the way to the server. */
export function isTlsFailure(error: Error): boolean {
  return /^ERR_(TLS|SSL)|CERT|SELF_SIGNED|UNABLE_TO/.test((error as NodeJS.ErrnoException).code ?? '')
}
