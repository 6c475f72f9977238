import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import type { InstructionCache } from '../../core/cpu/jit/instructions.ts';
import type { OpenMachine } from '../../core/machine/create.ts';
import { provideGuest } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';
import { lockstep } from '../lockstep/lockstep.ts';
import type { LockstepOptions } from '../lockstep/lockstep.ts';

/** Debian's kernel in regions and in the interpreter, compared after each VM entry; the whole boot is `npm run lockstep`. */
const MIB = 1 << 20;
const TEST_MS = 240_000;

const guests = new Map<string, Guest>();

beforeAll(async () => {
  for (const name of ['amd64', 'i386'] as const) guests.set(name, await provideGuest(name));
}, 600_000);

function options(name: string, tier: LockstepOptions['tier'], instructions: number): LockstepOptions {
  const { kernel, initramfs } = guests.get(name)!;
  return {
    tier, instructions,
    config: () => ({
      memoryBytes: 128 * MIB, cpuModel: '',
      boot: { kind: 'image', kernel: readFileSync(kernel), initrd: readFileSync(initramfs), append: 'console=ttyS0 quiet', modules: [] },
    }),
  };
}

/** Regions in which SHR does nothing. */
function breakShift({ cpu }: OpenMachine): void {
  const { instructions } = cpu.jit as unknown as { readonly instructions: InstructionCache };
  const at = instructions.at.bind(instructions);
  instructions.at = (place, limit, codeSize) => {
    const found = at(place, limit, codeSize);
    return found?.decoded.row.name === 'SHR' ? { ...found, form: { ...found.form, program: { statements: [], nodes: 0 }, variants: null } } : found;
  };
}

describe('both tiers in lock step', () => {
  it.each([['amd64', 'on', 400e6], ['i386', 'on', 300e6], ['amd64', 'always', 15e6], ['i386', 'always', 15e6]] as const)('%s, compiled %s: no difference', async (name, tier, instructions) => {
    const result = await lockstep(options(name, tier, instructions));
    expect(result).toMatchObject({ kind: 'agreed' });
    if (result.kind !== 'agreed') return;
    expect(result.instructions).toBeGreaterThan(instructions - 1);
    expect(result.regions).toBeGreaterThan(20);
  }, TEST_MS);

  it('an instruction that is compiled wrongly is named', async () => {
    const result = await lockstep({ ...options('amd64', 'on', 150e6), prepare: breakShift });
    expect(result.kind).toBe('differs');
    if (result.kind !== 'differs') return;
    expect(result.values).not.toEqual([]);
    expect(result.trace.find(({ suspect }) => suspect)?.text).toMatch(/^shr /);
  }, TEST_MS);
});
