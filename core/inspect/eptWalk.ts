/** The second stage of a nested guest's translation: EPT as its hypervisor has set it up, entry by entry. @sdm 3C 29.3 */
import { ACTIVE_SECONDARY, NON_ROOT, PHYS_RESERVED, VMCS } from '../cpu/layout.ts';
import { SECONDARY_EPT, SECONDARY_MODE_BASED_EXECUTE } from '../vmx/control-bits.ts';
import { EPT_POINTER } from '../vmx/fields.ts';
import { fieldOffset } from '../vmx/vmcs.ts';
import { entryAt } from './physicalMemory.ts';
import type { StateView, WalkStep } from './physicalMemory.ts';

export interface EptWalk {
  readonly steps: readonly WalkStep[];
  /** Address in the hypervisor's own memory; null when the walk ends in an exit. */
  readonly physical: bigint | null;
  readonly pageBytes: number;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly executable: boolean;
  readonly fault: string;
}

const LEVELS = [['EPT PML4E', 39n], ['EPT PDPTE', 30n], ['EPT PDE', 21n], ['EPT PTE', 12n]] as const;
const BITS: readonly (readonly [bigint, string])[] = [[0n, 'R'], [1n, 'W'], [2n, 'X'], [7n, 'PS'], [8n, 'A'], [9n, 'D'], [10n, 'XU'], [63n, 'SVE']];
const MEMORY_TYPES = ['UC', 'WC', '', '', 'WT', 'WP', 'WB', ''];
const ADDRESS = 0x000ffffffffff000n;
const LARGE = 0x80n;
const RIGHTS = 7n;
const USER_EXECUTE = 0x400n;
const has = (value: bigint, bit: bigint): boolean => ((value >> bit) & 1n) === 1n;

/** Whether the vCPU runs a nested guest with EPT. */
export function eptInUse({ view }: StateView): boolean {
  return view.getUint32(NON_ROOT, true) !== 0 && (view.getUint32(ACTIVE_SECONDARY, true) & SECONDARY_EPT) !== 0;
}

function stopped(steps: readonly WalkStep[], fault: string): EptWalk {
  return { steps, physical: null, pageBytes: 0, readable: false, writable: false, executable: false, fault };
}

/** Why an entry that is present cannot be; empty when it can. @sdm 3C 29.3.3.1 */
function misconfigured(entry: bigint, shift: bigint, leaf: boolean, reserved: bigint): boolean {
  if ((entry & 3n) === 2n || (entry & reserved) !== 0n) return true;
  if (!leaf) return (entry & (shift === 39n ? 0xf8n : 0x78n)) !== 0n;
  return MEMORY_TYPES[Number((entry >> 3n) & 7n)] === '' || (entry & ADDRESS & ((1n << shift) - 1n)) !== 0n;
}

export function walkEpt(cpu: StateView, address: bigint): EptWalk {
  const { view } = cpu;
  const reserved = view.getBigUint64(PHYS_RESERVED, true);
  const presence = (view.getUint32(ACTIVE_SECONDARY, true) & SECONDARY_MODE_BASED_EXECUTE) !== 0 ? RIGHTS | USER_EXECUTE : RIGHTS;
  const steps: WalkStep[] = [];
  let table = view.getBigUint64(VMCS + fieldOffset(EPT_POINTER), true) & ADDRESS;
  let rights = RIGHTS | USER_EXECUTE;
  for (const [level, shift] of LEVELS) {
    const at = table + ((address >> shift) & 511n) * 8n;
    const entry = entryAt(cpu, at, 8);
    const leaf = shift === 12n || ((entry & LARGE) !== 0n && shift <= 30n);
    const type = leaf ? [MEMORY_TYPES[Number((entry >> 3n) & 7n)] ?? ''] : [];
    steps.push({ level, at, entry, bits: [...BITS.filter(([bit]) => has(entry, bit)).map(([, name]) => name), ...type] });
    if ((entry & presence) === 0n) return stopped(steps, `the ${level} is not present: EPT violation`);
    if (misconfigured(entry, shift, leaf, reserved)) return stopped(steps, `the ${level} cannot be: EPT misconfiguration`);
    rights &= entry;
    if (leaf) {
      const inside = (1n << shift) - 1n;
      return {
        steps, physical: (entry & ADDRESS & ~inside) | (address & inside), pageBytes: Number(inside) + 1, readable: has(rights, 0n), writable: has(rights, 1n),
        executable: has(rights, 2n), fault: '',
      };
    }
    table = entry & ADDRESS;
  }
  return stopped(steps, 'the walk has no end');
}
