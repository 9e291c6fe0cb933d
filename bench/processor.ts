import { readFileSync } from 'node:fs'

/** Seconds of processor, by the kernel's clock of 100 ticks a second: what the process has used, or its children that have ended. Undefined where there is no /proc. */
export function processorOf(pid: number | 'self', whose: 'own' | 'children' = 'own'): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')
    const [user, system] = whose === 'own' ? fields.slice(11, 13) : fields.slice(13, 15)
    return (Number(user) + Number(system)) / 100
  } catch {
    return undefined
  }
}
