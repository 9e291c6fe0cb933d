import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type CertificateExtension, type GenerateResult, generate } from 'selfsigned'
import { temporaryFolder } from './orphans.ts'

/** A private CA, a server's certificate (for localhost and 127.0.0.1 unless said), a client's; PEM, as text and as files. */
export interface Certificates {
  readonly ca: string
  readonly serverCert: string
  readonly serverKey: string
  readonly clientCert: string
  readonly clientKey: string
  readonly paths: Readonly<Record<'ca' | 'serverCert' | 'serverKey' | 'clientCert' | 'clientKey', string>>
  remove(): void
}

const common = { keyType: 'ec', curve: 'P-256', algorithm: 'sha256' } as const

/** Each call makes a CA of its own, which nobody else trusts. `notAfter` in the past: certificates that have expired. */
export async function makeCertificates({
  notAfter,
  client = 'rig-client',
  names = ['localhost'],
  ips = ['127.0.0.1'],
}: {
  notAfter?: Date
  client?: string
  /** Whom the server's certificate is for. */
  names?: string[]
  ips?: string[]
} = {}): Promise<Certificates> {
  const authority = await generate([{ name: 'commonName', value: 'cozebus test rig' }], {
    ...common,
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    ],
  })
  const signed = (name: string, ...extensions: CertificateExtension[]): Promise<GenerateResult> =>
    generate([{ name: 'commonName', value: name }], {
      ...common,
      ...(notAfter && { notBeforeDate: new Date(notAfter.getTime() - 86_400_000), notAfterDate: notAfter }),
      ca: { key: authority.private, cert: authority.cert },
      extensions: [{ name: 'basicConstraints', cA: false }, ...extensions],
    })
  const local: CertificateExtension = {
    name: 'subjectAltName',
    altNames: [...names.map((value) => ({ type: 2 as const, value })), ...ips.map((ip) => ({ type: 7 as const, ip }))],
  }
  const [server, user] = await Promise.all([
    signed('localhost', { name: 'extKeyUsage', serverAuth: true }, local),
    signed(client, { name: 'extKeyUsage', clientAuth: true }),
  ])
  const { path: folder, remove } = temporaryFolder('certificates')
  const file = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  return {
    ca: authority.cert,
    serverCert: server.cert,
    serverKey: server.private,
    clientCert: user.cert,
    clientKey: user.private,
    paths: {
      ca: file('ca.pem', authority.cert),
      serverCert: file('server.pem', server.cert),
      serverKey: file('server.key', server.private),
      clientCert: file('client.pem', user.cert),
      clientKey: file('client.key', user.private),
    },
    remove,
  }
}
