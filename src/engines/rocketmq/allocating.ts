/**
 * Which of the queues are one member's: as every classic client divides them, so that Go's members and ours agree
 * (https://github.com/apache/rocketmq-client-go/blob/v2.1.2/consumer/strategy.go, AllocateByAveragely). Both lists in order.
 */
export function allocate(count: number, members: readonly string[], me: string): number[] {
  const index = members.indexOf(me)
  if (index < 0 || count === 0) return []
  const rest = count % members.length
  const least = Math.floor(count / members.length)
  const share = count <= members.length ? 1 : least + (index < rest ? 1 : 0)
  const start = count <= members.length || index < rest ? index * share : index * share + rest
  return Array.from({ length: Math.max(0, Math.min(share, count - start)) }, (_, i) => start + i)
}
