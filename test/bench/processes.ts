/** What a tree of processes used, from /proc (Linux). */
import { closeSync, existsSync, openSync, readFileSync, readSync, readdirSync } from 'node:fs';

/** Ticks of /proc's CPU times in a second: USER_HZ, 100 on every Linux port to PCs. */
const TICKS = 100;

interface Usage {
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

function children(): Map<number, number[]> {
  const result = new Map<number, number[]>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const parent = Number(fields(Number(entry))?.[1] ?? 0);
    result.set(parent, [...(result.get(parent) ?? []), Number(entry)]);
  }
  return result;
}

/** The fields of /proc/PID/stat behind the name: state, parent, ... @returns null for a process that is gone */
function fields(id: number): string[] | null {
  try {
    const text = readFileSync(`/proc/${id}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}

/** CPU time of one process and of its children that have ended, in seconds. */
function cpuSeconds(id: number): number {
  const stat = fields(id);
  return stat ? [11, 12, 13, 14].reduce((sum, index) => sum + Number(stat[index]), 0) / TICKS : 0;
}

/** A number from /proc/PID/status: kilobytes, or a count. */
export function statusValue(path: string, name: string): number {
  if (!existsSync(path)) return 0;
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(path, 'latin1'))?.[1] ?? 0);
}

/** Of a process and all below it. */
export function usageOf(root: number): Usage {
  const below = children();
  let cpu = 0;
  let peak = 0;
  for (const todo = [root]; todo.length > 0;) {
    const id = todo.pop() ?? 0;
    cpu += cpuSeconds(id);
    peak += statusValue(`/proc/${id}/status`, 'VmHWM') * 1024;
    todo.push(...(below.get(id) ?? []));
  }
  return { cpuSeconds: cpu, peakBytes: peak };
}

/** Voluntary context switches of all threads of a process: each is a sleep that ended. */
export function wakeUps(id: number): number {
  return readdirSync(`/proc/${id}/task`).reduce((sum, task) => sum + statusValue(`/proc/${id}/task/${task}/status`, 'voluntary_ctxt_switches'), 0);
}

const PAGE = 4096;
const PRESENT = 0x80;

/** Bytes of guest RAM that are in memory: the pages of the machine's linear memory above `ramBase` that the process has touched. */
export function touchedGuestBytes(id: number, ramBase: number, ramBytes: number): number {
  const map = readFileSync(`/proc/${id}/maps`, 'latin1');
  const bounds = [...map.matchAll(/^([0-9a-f]+)-([0-9a-f]+) rw/gm)].map(([, start, end]) => [parseInt(start ?? '', 16), parseInt(end ?? '', 16)] as const);
  const memory = bounds.find(([start, end]) => end - start >= ramBase + ramBytes && end - start < ramBase + ramBytes + (1 << 20));
  if (!memory) throw new Error(`process ${id} has no mapping that looks like a guest's memory`);
  const entries = new Uint8Array((ramBytes / PAGE) * 8);
  const file = openSync(`/proc/${id}/pagemap`, 'r');
  try {
    readSync(file, entries, 0, entries.length, ((memory[0] + ramBase) / PAGE) * 8);
  } finally {
    closeSync(file);
  }
  let pages = 0;
  for (let at = 7; at < entries.length; at += 8) if (((entries[at] ?? 0) & PRESENT) !== 0) pages++;
  return pages * PAGE;
}
