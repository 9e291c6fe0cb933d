import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { receiveMessageOnPort, workerData } from 'node:worker_threads'
import { bellName, type Command, type WorkerStart } from './protocol.ts'
import { storeError } from './store/failure.ts'
import { Store } from './store/store.ts'
import { Turns } from './store/turns.ts'

/** How long to look out for more work before sleeping: waking a sleeper takes longer than this. */
const spinMs = 0.15
/** Other processes count as active this long after a write of theirs. */
const foreignActiveMs = 100
/** How long a close waits for a lock that another process does not let go. */
const closeWaitMs = 5000
const longestMs = 60_000

/**
 * The thread that owns the connection. It blocks: it sleeps on the flag, not in an event loop, since a message to an event
 * loop and back takes 196 µs and this 20 to 60 µs (measured).
 */
const start = workerData as WorkerStart
const { port, flag } = start
const never = new Int32Array(new SharedArrayBuffer(4))

function pause(ms: number): void {
  Atomics.wait(never, 0, 0, ms)
}

function openStore(): Store | undefined {
  try {
    return new Store(start, Date.now())
  } catch (error) {
    const { code, message } = storeError(error, start.dir === undefined ? 'store in memory' : `store '${start.dir}'`)
    port.postMessage([{ op: 'failed', call: 0, code, message }])
    return undefined
  }
}

/** Not emptied: on a full disk the one byte that is there could not be written again. */
function openBell(dir: string): number | undefined {
  try {
    return openSync(join(dir, bellName), constants.O_WRONLY | constants.O_CREAT)
  } catch {
    return undefined
  }
}

/** Where it fails (a full disk), others find by their slow poll what was committed. */
function ring(bell: number): void {
  try {
    writeSync(bell, '.', 0)
  } catch {}
}

function run(store: Store): void {
  const turns = new Turns(store, Date.now())
  const bell = start.dir === undefined ? undefined : openBell(start.dir)
  let closing: { readonly call: number; readonly until: number } | undefined
  let workedAt = 0
  for (;;) {
    const seen = Atomics.load(flag, 0)
    for (let received = receiveMessageOnPort(port); received; received = receiveMessageOnPort(port)) {
      for (const command of received.message as Command[]) {
        if (command.op === 'call' && command.name === 'close') closing = { call: command.call, until: performance.now() + closeWaitMs }
        else turns.accept(command)
      }
    }
    const now = Date.now()
    const did = turns.step(now)
    if (did === 'worked') {
      workedAt = performance.now()
      if (bell !== undefined && store.db.wrote()) {
        ring(bell)
        // Who waits for the lock looks for it every 0.3 to 1.5 ms: without a gap one busy writer would keep it.
        if (now - turns.foreignAt < foreignActiveMs) pause(0.5 + Math.random() * 0.5)
      }
    } else if (closing !== undefined && (!turns.waiting || (did === 'busy' && performance.now() >= closing.until))) {
      turns.giveUp()
      if (bell !== undefined) closeSync(bell)
      close(store, closing.call, closing.until, turns.corrupt)
      return
    } else if (did === 'busy') pause(0.3 + Math.random() * 1.2)
    else if (performance.now() - workedAt > spinMs || Atomics.load(flag, 0) !== seen) {
      Atomics.wait(flag, 0, seen, Math.max(0, Math.min(longestMs, turns.nextTimer() - Date.now(), start.pollMs)))
    }
  }
}

/** What it cannot free because it never gets the lock is what a crash would leave (leases, this process's row): others free it. */
function close(store: Store, call: number, until: number, corrupt: boolean): void {
  const { db, out, presence } = store
  try {
    let begun = !corrupt && db.begin(true)
    while (!begun && !corrupt && performance.now() < until) {
      pause(1)
      begun = db.begin(true)
    }
    if (begun) {
      store.leave()
      db.commit()
    }
  } catch (error) {
    out.push({ op: 'health', ok: false, detail: storeError(error, db.where).message, forGood: false })
  }
  presence.close()
  db.close()
  out.push({ op: 'done', call, value: undefined })
  out.send()
}

const store = openStore()
if (store) {
  port.postMessage([{ op: 'ready' }])
  run(store)
}
port.close()
