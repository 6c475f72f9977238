/** How a linear address is translated now: the walk as the processor would make it, step by step, with nothing changed. @sdm 3A 4 */
import { CR0, CR3, CR4, EFER, PDPTE, PHYS_RESERVED } from '../cpu/layout.ts';
import { eptInUse, walkEpt } from './eptWalk.ts';
import { entryAt } from './physicalMemory.ts';
import type { StateView, WalkStep } from './physicalMemory.ts';

export interface Walk {
  readonly mode: string;
  readonly steps: readonly WalkStep[];
  /** Guest-physical address (of a nested guest: the hypervisor's); null when the walk ends in a fault. */
  readonly physical: bigint | null;
  readonly pageBytes: number;
  /** What all entries together allow. */
  readonly writable: boolean;
  readonly user: boolean;
  readonly executable: boolean;
  /** Why there is no translation; empty when there is one. */
  readonly fault: string;
}

/** The step between the two stages of a nested guest's walk. */
export const GUEST_PHYSICAL = 'guest-physical';

interface LevelRow {
  readonly name: string;
  readonly shift: bigint;
}

const LEVELS: readonly LevelRow[] = [
  { name: 'PML5E', shift: 48n }, { name: 'PML4E', shift: 39n }, { name: 'PDPTE', shift: 30n }, { name: 'PDE', shift: 21n }, { name: 'PTE', shift: 12n },
];
const BITS: readonly (readonly [bigint, string])[] = [[0n, 'P'], [1n, 'R/W'], [2n, 'U/S'], [3n, 'PWT'], [4n, 'PCD'], [5n, 'A']];
const LEAF_BITS: readonly (readonly [bigint, string])[] = [[6n, 'D'], [8n, 'G']];

const ADDRESS = 0x000ffffffffff000n;
const PRESENT = 1n;
const PAGE_SIZE = 0x80n;
const EXECUTE_DISABLE = 1n << 63n;
const has = (value: bigint, bit: bigint): boolean => ((value >> bit) & 1n) === 1n;

export function canonicalIn(address: bigint, bits: number): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(bits, address)) === address;
}

/** @param address a linear address of 64 bits */
export function walkLinear(cpu: StateView, address: bigint): Walk {
  return throughEpt(cpu, walkGuest(cpu, address));
}

function walkGuest(cpu: StateView, address: bigint): Walk {
  const { view } = cpu;
  const cr0 = view.getBigUint64(CR0, true);
  const cr4 = view.getBigUint64(CR4, true);
  const long = has(view.getBigUint64(EFER, true), 10n);
  if (!has(cr0, 31n)) return identity(address);
  if (!has(cr4, 5n)) return walk32(cpu, address & 0xffffffffn, has(cr4, 4n));
  if (!long) return walkPae(cpu, address & 0xffffffffn);
  const five = has(cr4, 12n);
  const walk = walk64(cpu, address, view.getBigUint64(CR3, true) & ADDRESS, LEVELS.slice(five ? 0 : 1), 0n);
  const mode = `${five ? 5 : 4}-level paging`;
  return canonicalIn(address, five ? 57 : 48) ? { ...walk, mode } : fault(mode, [], 'the address is not canonical: #GP(0), or #SS(0) with the stack segment');
}

function identity(address: bigint): Walk {
  return { mode: 'no paging', steps: [], physical: address & 0xffffffffn, pageBytes: 4096, writable: true, user: true, executable: true, fault: '' };
}

function fault(mode: string, steps: readonly WalkStep[], reason: string): Walk {
  return { mode, steps, physical: null, pageBytes: 0, writable: false, user: false, executable: false, fault: reason };
}

/** Where the entry at a guest-physical address lies: for a nested guest through EPT, whose entries join the steps. */
function locate(cpu: StateView, at: bigint, steps: WalkStep[]): { readonly at: bigint } | { readonly fault: string } {
  if (!eptInUse(cpu)) return { at };
  const { steps: second, physical, readable, fault: reason } = walkEpt(cpu, at);
  steps.push(...second);
  if (physical === null) return { fault: reason };
  return readable ? { at: physical } : { fault: 'EPT lets nobody read the entry: EPT violation' };
}

/** The second stage behind a walk of a nested guest. */
function throughEpt(cpu: StateView, walk: Walk): Walk {
  if (walk.physical === null || !eptInUse(cpu)) return walk;
  const second = walkEpt(cpu, walk.physical);
  const steps = [...walk.steps, { level: GUEST_PHYSICAL, at: walk.physical, entry: 0n, bits: [] }, ...second.steps];
  const mode = `${walk.mode}, EPT`;
  if (second.physical === null) return fault(mode, steps, second.fault);
  return {
    ...walk, mode, steps, physical: second.physical, pageBytes: Math.min(walk.pageBytes, second.pageBytes), writable: walk.writable && second.writable,
    executable: walk.executable && second.executable,
  };
}

function namesOf(entry: bigint, leaf: boolean, large: boolean, long: boolean): string[] {
  const names = [...BITS, ...(leaf ? LEAF_BITS : [])].filter(([bit]) => has(entry, bit)).map(([, name]) => name);
  if (large) names.push('PS');
  if (leaf && has(entry, large ? 12n : 7n)) names.push('PAT');
  if (entry & EXECUTE_DISABLE) names.push('XD');
  const key = (entry >> 59n) & 15n;
  if (leaf && long && key !== 0n) names.push(`key ${key}`);
  return names;
}

function walk64(cpu: StateView, address: bigint, root: bigint, levels: readonly LevelRow[], reservedAlways: bigint): Walk {
  const { view } = cpu;
  const noExecute = has(view.getBigUint64(EFER, true), 11n);
  const long = has(view.getBigUint64(EFER, true), 10n);
  const reserved = view.getBigUint64(PHYS_RESERVED, true) | reservedAlways | (noExecute ? 0n : EXECUTE_DISABLE);
  const steps: WalkStep[] = [];
  let table = root;
  let rights = 6n;
  let disabled = false;
  for (const { name, shift } of levels) {
    const at = table + ((address >> shift) & 511n) * 8n;
    const place = locate(cpu, at, steps);
    if ('fault' in place) return fault('', steps, place.fault);
    const entry = entryAt(cpu, place.at, 8);
    const large = (entry & PAGE_SIZE) !== 0n && shift !== 12n && shift <= 30n;
    const leaf = shift === 12n || large;
    steps.push({ level: name, at, entry, bits: namesOf(entry, leaf, large, long) });
    if (!(entry & PRESENT)) return fault('', steps, `the ${name} is not present: #PF`);
    const wrong = reserved | (shift > 30n ? PAGE_SIZE : large ? ((1n << shift) - 1n) & ~0x1fffn : 0n);
    if (entry & wrong) return fault('', steps, `the ${name} has reserved bits set (0x${(entry & wrong).toString(16)}): #PF`);
    rights &= entry;
    disabled ||= (entry & EXECUTE_DISABLE) !== 0n;
    if (leaf) {
      const inside = (1n << shift) - 1n;
      return {
        mode: '', steps, physical: (entry & ADDRESS & ~inside) | (address & inside), pageBytes: Number(inside) + 1, writable: has(rights, 1n), user: has(rights, 2n),
        executable: !disabled, fault: '',
      };
    }
    table = entry & ADDRESS;
  }
  return fault('', steps, 'the walk has no end');
}

function walkPae(cpu: StateView, address: bigint): Walk {
  const mode = 'PAE paging';
  const entry = cpu.view.getBigUint64(PDPTE + Number(address >> 30n) * 8, true);
  const step: WalkStep = { level: `PDPTE${address >> 30n} register`, at: null, entry, bits: has(entry, 0n) ? ['P'] : [] };
  if (!(entry & PRESENT)) return fault(mode, [step], 'the PDPTE is not present: #PF');
  const walk = walk64(cpu, address, entry & ADDRESS, LEVELS.slice(3), 0x7ff0000000000000n);
  return { ...walk, mode, steps: [step, ...walk.steps] };
}

/** @sdm 3A 4.3 */
function walk32(cpu: StateView, address: bigint, largePages: boolean): Walk {
  const mode = '32-bit paging';
  const directory = (cpu.view.getBigUint64(CR3, true) & 0xfffff000n) + ((address >> 22n) & 1023n) * 4n;
  const steps: WalkStep[] = [];
  const directoryPlace = locate(cpu, directory, steps);
  if ('fault' in directoryPlace) return fault(mode, steps, directoryPlace.fault);
  const pde = entryAt(cpu, directoryPlace.at, 4);
  const large = largePages && (pde & PAGE_SIZE) !== 0n;
  steps.push({ level: 'PDE', at: directory, entry: pde, bits: namesOf(pde, large, large, false) });
  if (!(pde & PRESENT)) return fault(mode, steps, 'the PDE is not present: #PF');
  const granted = { mode, steps, writable: has(pde, 1n), user: has(pde, 2n), executable: true, fault: '' };
  if (large) {
    const base = (((pde >> 13n) & 0xffn) << 32n) | (pde & 0xffc00000n);
    if (has(pde, 21n) || base & cpu.view.getBigUint64(PHYS_RESERVED, true)) return fault(mode, steps, 'the PDE has reserved bits set: #PF');
    return { ...granted, physical: base | (address & 0x3fffffn), pageBytes: 0x400000 };
  }
  const at = (pde & 0xfffff000n) + ((address >> 12n) & 1023n) * 4n;
  const place = locate(cpu, at, steps);
  if ('fault' in place) return fault(mode, steps, place.fault);
  const pte = entryAt(cpu, place.at, 4);
  steps.push({ level: 'PTE', at, entry: pte, bits: namesOf(pte, true, false, false) });
  if (!(pte & PRESENT)) return fault(mode, steps, 'the PTE is not present: #PF');
  return {
    ...granted, physical: (pte & 0xfffff000n) | (address & 0xfffn), pageBytes: 4096, writable: granted.writable && has(pte, 1n), user: granted.user && has(pte, 2n),
  };
}
