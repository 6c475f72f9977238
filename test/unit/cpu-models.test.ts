import { describe, expect, it } from 'vitest';
import { Decoder } from '../../core/isa/decoder.ts';
import { invalidRow, rows, rowsOf } from '../../core/isa/table/index.ts';
import { FEATURES, MODELS } from '../../core/cpu/models.ts';
import type { FeatureRow } from '../../core/cpu/models.ts';
import { Cpuid } from '../../core/vmm/cpuid.ts';

const decode = (features: ReadonlySet<string> | undefined, bytes: readonly number[]): string =>
  new Decoder(rowsOf(features), invalidRow).decode(new Uint8Array([...bytes, 0, 0, 0, 0, 0, 0, 0, 0]), 0, bytes.length + 8, 64).row.name;

describe('a processor model', () => {
  const popcnt = [0xf3, 0x0f, 0xb8, 0xc1];
  const lzcnt = [0xf3, 0x0f, 0xbd, 0xc1];

  it('leaves instructions of features that it lacks undefined', () => {
    expect(decode(new Set(['popcnt']), popcnt)).toBe('POPCNT');
    expect(decode(new Set(), popcnt)).toBe('UD');
  });

  it('decodes LZCNT as BSR where it does not exist, as older processors do', () => {
    expect(decode(new Set(['lzcnt']), lzcnt)).toBe('LZCNT');
    expect(decode(new Set(), lzcnt)).toBe('BSR');
  });

  it('shows each of its features in CPUID where the row says, and none of the others', () => {
    const context = { apicId: 0, apicEnabled: true, osxsave: false, ospke: false, xcr0: 1 };
    for (const model of MODELS) {
      const cpuid = new Cpuid(model, { sockets: 1, cores: 1, threads: 1 });
      // The 32-bit model ends before leaf 7, whose place its last leaf takes.
      const last = cpuid.query(0, 0, context).eax;
      const shown = Object.entries<FeatureRow>(FEATURES).filter(([, [leaf, register, bit, subleaf = 0]]) => (leaf <= last || leaf >= 0x80000000) && ((cpuid.query(leaf, subleaf, context)[register] >>> bit) & 1) !== 0);
      expect(shown.map(([name]) => name).toSorted(), model.name).toEqual([...model.features].toSorted());
    }
  });

  it('says the same of its caches in leaves 2, 4 and 0x80000006', () => {
    // @sdm 2A CPUID, encoding of descriptors
    const DESCRIPTORS: Readonly<Record<number, string>> = { 0x2c: '1 data 32K 8 ways', 0x30: '1 code 32K 8 ways', 0x87: '2 both 1024K 8 ways' };
    const context = { apicId: 0, apicEnabled: true, osxsave: false, ospke: false, xcr0: 1 };
    const cpuid = new Cpuid(MODELS[0]!, { sockets: 1, cores: 1, threads: 1 });
    const { eax, ebx, ecx, edx } = cpuid.query(2, 0, context);
    expect(eax & 0xff).toBe(1);
    const registers = [eax & ~0xff, ebx, ecx, edx];
    expect(registers.every(value => value >= 0)).toBe(true);
    const bytes = registers.flatMap(value => [value, value >> 8, value >> 16, value >> 24].map(byte => byte & 0xff)).filter(byte => byte !== 0 && byte !== 0xfe);
    const caches = [0, 1, 2].map(subleaf => {
      const leaf = cpuid.query(4, subleaf, context);
      const ways = (leaf.ebx >>> 22) + 1;
      return `${(leaf.eax >> 5) & 7} ${['', 'data', 'code', 'both'][leaf.eax & 31]} ${ways * ((leaf.ebx & 0xfff) + 1) * (leaf.ecx + 1) / 1024}K ${ways} ways`;
    });
    expect(bytes.map(byte => DESCRIPTORS[byte]).toSorted()).toEqual(caches.toSorted());
    expect(cpuid.query(0x80000006, 0, context).ecx).toBe((1024 << 16) | (6 << 12) | 64);
  });

  it('names only features that CPUID has a bit for, in models and in rows', () => {
    const known = new Set(Object.keys(FEATURES));
    for (const model of MODELS) expect(model.features.filter(name => !known.has(name))).toEqual([]);
    expect(rows.map(({ feature }) => feature).filter(name => name !== undefined && !known.has(name))).toEqual([]);
  });
});
