/** What a guest reads of VT-x in the capability MSRs, feature by feature. @sdm 3D A */
import { beforeAll, describe, expect, it } from 'vitest';
import { Assembler } from '../../../core/isa/assembler.ts';
import { absolute, register as r } from '../../../core/isa/registers.ts';
import { createOpenMachine } from '../../../core/machine/create.ts';
import { capabilityMsr as msr } from '../../../core/vmx/controls.ts';
import { multibootFlat } from '../../doubles/images.ts';
import { CODE } from '../../helpers/small-guest.ts';

const SEEN = 0x200000;
const INDEXES = Object.values(msr);
/** In the upper half of a control's MSR: the bit may be 1. */
const allowed = (bit: number): number => 32 + bit;

/** Where a feature is announced: MSR and bit. */
const FEATURES: readonly (readonly [feature: string, index: number, bit: number])[] = [
  ['instruction information of INS and OUTS', msr.basic, 54], ['TRUE_ registers', msr.basic, 55],
  ['external-interrupt exiting', msr.truePin, allowed(0)], ['NMI exiting', msr.truePin, allowed(3)], ['virtual NMIs', msr.truePin, allowed(5)],
  ['preemption timer', msr.truePin, allowed(6)], ['its value saved', msr.trueExit, allowed(22)], ['posted interrupts', msr.truePin, allowed(7)],
  ['interrupt-window exiting', msr.truePrimary, allowed(2)], ['NMI-window exiting', msr.truePrimary, allowed(22)], ['TSC offset', msr.truePrimary, allowed(3)],
  ['RDTSC exiting', msr.truePrimary, allowed(12)], ['TPR shadow', msr.truePrimary, allowed(21)], ['I/O bitmaps', msr.truePrimary, allowed(25)],
  ['monitor trap flag', msr.truePrimary, allowed(27)], ['MSR bitmaps', msr.truePrimary, allowed(28)],
  ['APIC-access page', msr.secondary, allowed(0)], ['EPT', msr.secondary, allowed(1)], ['descriptor-table exiting', msr.secondary, allowed(2)],
  ['x2APIC mode', msr.secondary, allowed(4)], ['VPID', msr.secondary, allowed(5)], ['WBINVD exiting', msr.secondary, allowed(6)],
  ['unrestricted guest', msr.secondary, allowed(7)], ['APIC-register virtualization', msr.secondary, allowed(8)], ['virtual-interrupt delivery', msr.secondary, allowed(9)],
  ['PAUSE-loop exiting', msr.secondary, allowed(10)], ['RDRAND exiting', msr.secondary, allowed(11)], ['INVPCID', msr.secondary, allowed(12)],
  ['VM functions', msr.secondary, allowed(13)], ['EPTP switching', msr.vmFunctions, 0], ['VMCS shadowing', msr.secondary, allowed(14)],
  ['page-modification log', msr.secondary, allowed(17)], ['EPT-violation #VE', msr.secondary, allowed(18)], ['XSAVES', msr.secondary, allowed(20)],
  ['mode-based execute', msr.secondary, allowed(22)], ['TSC scaling', msr.secondary, allowed(25)],
  ['PAT saved', msr.trueExit, allowed(18)], ['PAT loaded by exits', msr.trueExit, allowed(19)], ['PAT loaded by entries', msr.trueEntry, allowed(14)],
  ['EFER saved', msr.trueExit, allowed(20)], ['EFER loaded by exits', msr.trueExit, allowed(21)], ['EFER loaded by entries', msr.trueEntry, allowed(15)],
  ['execute-only pages', msr.eptVpid, 0], ['pages of 2 MB', msr.eptVpid, 16], ['pages of 1 GB', msr.eptVpid, 17], ['INVEPT', msr.eptVpid, 20],
  ['accessed and dirty flags', msr.eptVpid, 21], ['INVEPT of a context', msr.eptVpid, 25], ['INVEPT of all', msr.eptVpid, 26],
  ['INVVPID', msr.eptVpid, 32], ['INVVPID of an address', msr.eptVpid, 40], ['INVVPID of a context', msr.eptVpid, 41], ['INVVPID of all', msr.eptVpid, 42],
  ['INVVPID of a context without globals', msr.eptVpid, 43],
  ['halted guests', msr.misc, 6], ['guests that are shut down', msr.misc, 7], ['guests that wait for SIPI', msr.misc, 8], ['VMWRITE to exit information', msr.misc, 29],
];
const MISSING: typeof FEATURES = [
  ['dual-monitor treatment', msr.basic, 49], ['PERF_GLOBAL_CTRL loaded by exits', msr.trueExit, allowed(12)], ['PERF_GLOBAL_CTRL loaded by entries', msr.trueEntry, allowed(13)],
  ['BNDCFGS cleared', msr.trueExit, allowed(23)], ['BNDCFGS loaded', msr.trueEntry, allowed(16)], ['tertiary controls', msr.truePrimary, allowed(17)],
];

/** Every capability MSR, as RDMSR gives it. */
async function read(): Promise<ReadonlyMap<number, bigint>> {
  const a = new Assembler(32, CODE);
  INDEXES.forEach((index, i) => {
    a.emit('MOV', r.ecx, index).emit('RDMSR').emit('MOV', absolute(SEEN + i * 8), r.eax).emit('MOV', absolute(SEEN + i * 8 + 4), r.edx);
  });
  a.emit('OUT', 0xf4, r.eax).emit('HLT');
  const machine = await createOpenMachine({
    memoryBytes: 16 << 20, cpus: 1, cpuModel: 'max', jit: 'off', clock: 'instructions', boot: { kind: 'image', kernel: multibootFlat(0x100000, a.finish(), 0), append: '', modules: [] },
  }, { serialOutput: () => {} });
  for (let i = 0; i < 100 && machine.runSlice().kind !== 'stopped'; i++);
  const seen = new DataView(machine.cpu.ram.buffer, machine.cpu.ram.byteOffset + SEEN);
  return new Map(INDEXES.map((index, i) => [index, seen.getBigUint64(i * 8, true)]));
}

describe('the capability MSRs', () => {
  let values: ReadonlyMap<number, bigint>;
  beforeAll(async () => {
    values = await read();
  });
  const bit = (index: number, at: number): bigint => (values.get(index)! >> BigInt(at)) & 1n;

  it.each(FEATURES)('announce: %s', (_feature, index, at) => expect(bit(index, at)).toBe(1n));
  it.each(MISSING)('do not announce: %s', (_feature, index, at) => expect(bit(index, at)).toBe(0n));

  it('announce four CR3 targets, and a preemption timer of 32 ticks', () => {
    expect([(values.get(msr.misc)! >> 16n) & 0x1ffn, values.get(msr.misc)! & 0x1fn]).toEqual([4n, 5n]);
  });

  it.each([[msr.pin, msr.truePin], [msr.primary, msr.truePrimary], [msr.exit, msr.trueExit], [msr.entry, msr.trueEntry]])('%i require at least what their TRUE_ ones do, and allow the same', (plain, exact) => {
    const [older, newer] = [values.get(plain)!, values.get(exact)!];
    expect([newer & ~older & 0xffffffffn, older >> 32n]).toEqual([0n, newer >> 32n]);
  });
});
