/** Memory of a guest that pretends to be a Linux kernel, or is none: test/integration/snapshotDevices.test.ts has a real one. */
import { describe, expect, it } from 'vitest';
import { kernelOwners } from '../../../core/engine/kernelOwners.ts';

const TEXT = 0xffff_ffff_8100_0000n;
const symbols = [['_text', 0n], ['entry_SYSCALL_64', 0x1000n], ['init_task', 0x2000n], ['init_mm', 0x3000n], ['init_top_pgt', 0x4000n], ['vmemmap_base', 0x4008n], ['slab_caches', 0x4010n], ['kmem_cache', 0x4020n],
  ['super_blocks', 0x4028n], ['vmalloc_base', 0x4030n], ['init_stack', 0x5000n], ['_end', 0x6000n]]
  .map(([name, offset]) => ({ name: String(name), address: TEXT + BigInt(offset ?? 0) }));
const PAGES = 4096;
/** Registers of a 64-bit machine whose page tables begin at page 1, its kernel where it was linked for. */
const state = { 'vcpu 0': { cr3: '4096', cr4: '0', efer: String(1 << 10), lstar: String(TEXT + 0x1000n) } };

/** Ends soon, whatever it says. */
function owners(read: (page: number) => Uint8Array, of: unknown = state): readonly (string | null)[] {
  const ownerOf = kernelOwners(symbols, of, read);
  return Array.from({ length: PAGES }, (_, page) => ownerOf(page));
}

function filled(word: (index: number) => bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.from({ length: 512 }, (_, index) => word(index)).buffer);
}

describe('whose a page of a Linux guest is', () => {
  it('is not known of a machine that is off, or not in 64-bit mode', () => {
    for (const of of [null, {}, { 'vcpu 0': 7 }, { 'vcpu 0': { ...state['vcpu 0'], efer: '0' } }]) expect(new Set(owners(() => new Uint8Array(4096), of))).toEqual(new Set([null]));
  });

  it('is found for what lies in the kernel, by its page tables', () => {
    // Pages 1, 2 and 3 lead to page 4, whose entries map the image from page 100 on.
    const read = (page: number): Uint8Array => filled((index) => {
      if (page === 1 && index === 511) return 0x2003n;
      if (page === 2 && index === 510) return 0x3003n;
      if (page === 3 && index === 8) return 0x4003n;
      return page === 4 ? (BigInt(100 + index) << 12n) | 3n : 0n;
    });
    expect(owners(read).slice(98, 108)).toEqual([null, null, '_text', 'entry_SYSCALL_64', 'init_task', 'init_mm', 'init_top_pgt to vmalloc_base', 'init_stack', null, null]);
  });

  it('is found although a program ran, which has tables without the kernel behind those of the kernel', () => {
    const withoutKernel = { 'vcpu 0': { ...state['vcpu 0'], cr3: String(0x3000) } };
    const read = (page: number): Uint8Array => filled((index) => {
      if (page === 2 && index === 511) return 0x4003n;
      if (page === 4 && index === 510) return 0x5003n;
      if (page === 5 && index === 8) return 0x6003n;
      return page === 6 ? (BigInt(100 + index) << 12n) | 3n : 0n;
    });
    expect(owners(read, withoutKernel).slice(100, 103)).toEqual(['_text', 'entry_SYSCALL_64', 'init_task']);
    expect(owners(read, withoutKernel)[4]).toBe('page tables of the kernel');
  });

  it.each([
    ['tables that lead to themselves', () => filled(() => 0x1007n)],
    ['large pages everywhere', () => filled((index) => (BigInt(index) << 21n) | 0x87n)],
    ['lists and names without end', (page: number) => filled((index) => (page < 8 ? (BigInt((index * 7) % 8) << 12n) | 7n : 0x7265_7070_6177_73n))],
    ['noise', (page: number) => filled((index) => BigInt.asUintN(64, BigInt(page * 512 + index + 1) * 0x9e37_79b9_7f4a_7c15n))],
  ] as const)('is found within bounds by what a hostile guest has put there: %s', (_what, read) => {
    expect(owners(read)).toHaveLength(PAGES);
  });
});
