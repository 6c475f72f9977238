/** How a VM's processors are arranged: sockets, cores of a socket, threads of a core. As text: `sockets=1,cores=2,threads=2`. */
import * as z from 'zod';
import { ContractError } from './errors.ts';
import { CPUS_MAXIMUM } from './limits.ts';

const count = z.int().min(1, 'at least one is needed').max(CPUS_MAXIMUM, `at most ${CPUS_MAXIMUM} are possible`);
const LEVELS = ['sockets', 'cores', 'threads'] as const;

export const cpuTopology = z.strictObject({ sockets: count, cores: count, threads: count });
export type CpuTopology = z.infer<typeof cpuTopology>;

export function processorsOf({ sockets, cores, threads }: CpuTopology): number {
  return sockets * cores * threads;
}

/** @throws ContractError `bad-field` saying how it is written */
export function parseTopology(text: string): CpuTopology {
  const given = new Map(text.split(',').map((part) => part.trim().split('=', 2) as [string, string | undefined]));
  const known = [...given.keys()].every((name) => LEVELS.some((level) => level === name));
  const [sockets = 1, cores = 1, threads = 1] = LEVELS.map((level) => (given.has(level) ? Number(given.get(level)) : 1));
  const parsed = cpuTopology.safeParse({ sockets, cores, threads });
  if (known && parsed.success && processorsOf(parsed.data) <= CPUS_MAXIMUM) return parsed.data;
  throw new ContractError(
    'bad-field', `"${text}" is no arrangement of processors.`, `Write sockets=1,cores=2,threads=2: what is left out counts one, and all together are at most ${CPUS_MAXIMUM}.`, 'topology',
  );
}

export function formatTopology({ sockets, cores, threads }: CpuTopology): string {
  return `sockets=${sockets},cores=${cores},threads=${threads}`;
}

/** Every arrangement of so many processors, one socket first. */
export function topologiesOf(cpus: number): readonly CpuTopology[] {
  const divisors = (of: number): number[] => Array.from({ length: of }, (_, i) => i + 1).filter((n) => of % n === 0);
  return divisors(cpus).flatMap((sockets) => divisors(cpus / sockets).map((threads) => ({ sockets, cores: cpus / sockets / threads, threads })));
}
