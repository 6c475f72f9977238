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

  it('names only features that CPUID has a bit for, in models and in rows', () => {
    const known = new Set(Object.keys(FEATURES));
    for (const model of MODELS) expect(model.features.filter(name => !known.has(name))).toEqual([]);
    expect(rows.map(({ feature }) => feature).filter(name => name !== undefined && !known.has(name))).toEqual([]);
  });
});
