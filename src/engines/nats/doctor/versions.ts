import type { Finding } from '../../engine.ts'

/** What a version is known to lose, and the first one that does not (Jepsen's reports and the server's release notes). */
const known: readonly { readonly from: string; readonly fixed: string; readonly what: string; readonly level: Finding['level'] }[] = [
  { from: '0', fixed: '2.10.0', what: 'the bus is tested from 2.10 on', level: 'problem' },
  { from: '2.10.0', fixed: '2.10.23', what: 'kill -9 may delete a whole stream (nats-server#6888)', level: 'problem' },
  { from: '2.11.0', fixed: '2.12.3', what: 'a peer removed from a cluster may cost messages (nats-server#7581)', level: 'warning' },
  { from: '2.12.0', fixed: '2.12.4', what: 'a file cut short on disk is not noticed in each case', level: 'warning' },
  {
    from: '2.11.0',
    fixed: '2.14.0',
    what: 'bit errors in a snapshot of the cluster may delete streams as orphans (nats-server#7556)',
    level: 'note',
  },
]

export function examineVersion(version: string): Finding[] {
  const hits = known.filter(({ from, fixed }) => compare(version, from) >= 0 && compare(version, fixed) < 0)
  if (hits.length === 0) return [{ check: 'server', level: 'ok', detail: `nats-server ${version}, nothing known against it` }]
  return hits.map(({ what, fixed, level }) => ({
    check: 'server',
    level,
    detail: `nats-server ${version}: ${what}`,
    advice: `upgrade to ${fixed} or later`,
  }))
}

function compare(a: string, b: string): number {
  const [x, y] = [a, b].map((text) => text.split(/[.-]/).map(Number)) as [number[], number[]]
  for (let i = 0; i < 3; i++) {
    const difference = (x[i] || 0) - (y[i] || 0)
    if (difference !== 0) return difference
  }
  return 0
}
