import * as fc from 'fast-check';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { BootError, applyWrites } from '../../../core/boot/loader.ts';
import { bzImage, multibootElf, multibootFlat } from '../../doubles/images.ts';
import { loadImage } from '../../../core/boot/image.ts';
import { memoryMap } from '../../../core/platform/memoryLayout.ts';
import type { BootImages } from '../../../core/boot/image.ts';
import type { BzImageOptions } from '../../doubles/images.ts';
import type { LoadedImage } from '../../../core/boot/loader.ts';

const megabyte = 1 << 20;

function boot(images: Partial<BootImages> & { readonly kernel: Uint8Array }, memoryBytes = 64 * megabyte) {
  const plan = { memoryBytes, memoryMap: memoryMap(memoryBytes), rsdpAddress: 0xe0000, rsdp: new Uint8Array(36).fill(7) };
  const image = loadImage({ append: '', modules: [], ...images }, plan);
  const memory = new Uint8Array(memoryBytes);
  applyWrites({ bytes: memory }, image.writes);
  return { image, memory, view: new DataView(memory.buffer) };
}

function refusal(images: Partial<BootImages> & { readonly kernel: Uint8Array }, memoryBytes?: number): string {
  try {
    boot(images, memoryBytes);
  } catch (error) {
    expect(error).toBeInstanceOf(BootError);
    return (error as BootError).message;
  }
  throw new Error('the image was accepted');
}

function text(memory: Uint8Array, address: number): string {
  return Buffer.from(memory.subarray(address, memory.indexOf(0, address))).toString();
}

function overlapping({ writes }: LoadedImage): boolean {
  const sorted = writes.filter(({ data }) => data.length > 0).toSorted((a, b) => a.address - b.address);
  return sorted.some(({ address, data }, index) => index + 1 < sorted.length && address + data.length > (sorted[index + 1]?.address ?? Infinity));
}

const params = 0x10000;

describe('a linear frame buffer', () => {
  it('is told to Linux as a VESA BIOS would; without one nothing is', () => {
    const memoryBytes = 64 * megabyte;
    const plan = { memoryBytes, memoryMap: memoryMap(memoryBytes), rsdpAddress: 0xe0000, rsdp: new Uint8Array(36) };
    const frameBuffer = { address: 0x80000000, width: 1024, height: 768, pitch: 4096, length: 16 * megabyte };
    const screenOf = (more: object): DataView => {
      const memory = new Uint8Array(memoryBytes);
      const { writes, vcpu } = loadImage({ kernel: bzImage(), append: '', modules: [] }, { ...plan, ...more });
      applyWrites({ bytes: memory }, writes);
      return new DataView(memory.buffer, vcpu.rsi);
    };
    const screen = screenOf({ frameBuffer });
    expect([screen.getUint8(0x0f), screen.getUint32(0x18, true), screen.getUint32(0x1c, true)]).toEqual([0x23, 0x80000000, 256]);
    expect([0x12, 0x14, 0x16, 0x24].map(field => screen.getUint16(field, true))).toEqual([1024, 768, 32, 4096]);
    expect(screenOf({}).getUint8(0x0f)).toBe(0);
  });
});

describe('Linux boot protocol', () => {
  it('64-bit entry: long mode, identity map, zero page in RSI', () => {
    const { image, memory, view } = boot({ kernel: bzImage(), append: 'console=ttyS0' });
    const { vcpu } = image;
    expect(vcpu).toMatchObject({ mode: 'long64', rip: 0x1000200, rsi: params, cr4: 0x20, efer: 0x500 });
    expect(vcpu.cr0 >>> 31).toBe(1);
    expect(memory[0x1000000 + 5]).toBe(5);
    // Walk the page tables for an address beyond 3 GB.
    const at = (table: number, index: number): number => Number(view.getBigUint64(table + index * 8, true) & ~0xfffn);
    const directory = at(at(vcpu.cr3, 0), 3);
    expect(view.getBigUint64(directory + 8, true)).toBe(0xc0200083n);
  });

  it('32-bit entry for a kernel without 64-bit code: paging off', () => {
    const { image } = boot({ kernel: bzImage({ is64: false }) });
    expect(image.vcpu).toMatchObject({ mode: 'protected32', rip: 0x1000000, rsi: params, cr0: 0x11, cr3: 0, efer: 0 });
    expect(image.vcpu.cs).toMatchObject({ selector: 0x10, access: 0xc09b });
  });

  it('fills the zero page: header, loader type, command line, memory map, RSDP', () => {
    const { memory, view } = boot({ kernel: bzImage(), append: 'console=ttyS0 quiet' });
    expect(view.getUint32(params + 0x202, true)).toBe(0x53726448);
    expect(memory[params + 0x210]).toBe(0xff);
    expect(text(memory, view.getUint32(params + 0x228, true))).toBe('console=ttyS0 quiet');
    expect(view.getBigUint64(params + 0x70, true)).toBe(0xe0000n);
    const entries = memory[params + 0x1e8] ?? 0;
    const rows = Array.from({ length: entries }, (_, index) => {
      const at = params + 0x2d0 + index * 20;
      return [Number(view.getBigUint64(at, true)), Number(view.getBigUint64(at + 8, true)), view.getUint32(at + 16, true)];
    });
    expect(rows).toContainEqual([0, 0x9fc00, 1]);
    expect(rows).toContainEqual([megabyte, 63 * megabyte, 1]);
    expect(rows).toContainEqual([0xe0000, 0x20000, 2]);
  });

  it('puts the initrd as high as kernel and memory allow, page-aligned', () => {
    const initrd = new Uint8Array(5000).fill(7);
    const { memory, view } = boot({ kernel: bzImage(), initrd });
    const address = view.getUint32(params + 0x218, true);
    expect([address % 4096, view.getUint32(params + 0x21c, true)]).toEqual([0, 5000]);
    expect(address).toBe(64 * megabyte - 8192);
    expect(memory[address + 4999]).toBe(7);
    const limited = boot({ kernel: bzImage({ initrdLimit: 0x2ffffff }), initrd });
    expect(limited.view.getUint32(params + 0x218, true)).toBe(48 * megabyte - 8192);
  });

  it('loads a relocatable kernel lower when its preferred address does not fit', () => {
    expect(boot({ kernel: bzImage() }, 16 * megabyte).image.vcpu.rip).toBe(0x200200);
    expect(refusal({ kernel: bzImage({ relocatable: false }) }, 16 * megabyte)).toMatch(/16 MB is too small.*20 MB/);
  });

  it('writes nothing over anything else', () => {
    const { image } = boot({ kernel: bzImage(), initrd: new Uint8Array(100_000), append: 'x'.repeat(2047) });
    expect(overlapping(image)).toBe(false);
  });

  const refusals: readonly (readonly [string, Partial<BootImages> & { readonly kernel: Uint8Array }, number, RegExp])[] = [
    ['an empty file', { kernel: new Uint8Array(0) }, 64, /empty/],
    ['noise', { kernel: Uint8Array.from({ length: 100_000 }, (_, index) => (index * 7919) & 0xff) }, 64, /not recognised/],
    ['a truncated kernel', { kernel: bzImage().subarray(0, 20_000) }, 64, /truncated.*at least 34289 bytes.*has 20000/],
    ['a file that ends in the header', { kernel: bzImage().subarray(0, 0x220) }, 64, /truncated/],
    ['an old protocol', { kernel: bzImage({ protocol: 0x203 }) }, 64, /protocol 2\.03/],
    ['a command line that is too long', { kernel: bzImage({ commandLineSize: 10 }), append: 'console=ttyS0' }, 64, /13 bytes.*at most 10/],
    ['a zero in the command line', { kernel: bzImage(), append: 'a\0b' }, 64, /zero character/],
    ['an initrd larger than memory', { kernel: bzImage(), initrd: new Uint8Array(70 * megabyte) }, 64, /initrd of 70 MB does not fit.*64 MB.*at least 90 MB/],
    ['memory below the kernel', { kernel: bzImage() }, 4, /4 MB is too small/],
    ['hardly any memory', { kernel: bzImage() }, 1, /at least 2 MB/],
    ['modules for Linux', { kernel: bzImage(), modules: [{ data: new Uint8Array(1), commandLine: 'm' }] }, 64, /not modules/],
  ];
  for (const [what, images, megabytes, message] of refusals) it(`refuses ${what} and says so`, () => expect(refusal(images, megabytes * megabyte)).toMatch(message));

  it('refuses a payload that ends beyond the file', () => {
    const kernel = bzImage();
    new DataView(kernel.buffer).setUint32(0x24c, 0x100000, true);
    expect(refusal({ kernel })).toMatch(/truncated: its payload ends after/);
  });
});

describe('multiboot 1', () => {
  const code = Uint8Array.from([1, 2, 3, 4]);

  it('loads ELF32 by physical addresses, with zeroed bss', () => {
    const kernel = multibootElf(false, 0x100000, [{ address: 0x100000, data: code, memoryLength: 100 }, { address: 0x200000, data: code }]);
    const { image, memory } = boot({ kernel });
    expect(image.vcpu).toMatchObject({ mode: 'protected32', rip: 0x100000, rax: 0x2badb002, cr0: 0x11 });
    expect([...memory.subarray(0x100000, 0x100005), memory[0x200003]]).toEqual([1, 2, 3, 4, 0, 4]);
  });

  it('loads ELF64, and finds the physical place of a virtual entry point', () => {
    const kernel = multibootElf(true, 0xffff80000010, [{ address: 0x300000, virtual: 0xffff80000000, data: new Uint8Array(64) }]);
    expect(boot({ kernel }).image.vcpu.rip).toBe(0x300010);
  });

  it('loads a flat image by its address fields', () => {
    const { image, memory } = boot({ kernel: multibootFlat(0x100000, code, 4096) });
    expect(image.vcpu.rip).toBe(0x100020);
    expect([...memory.subarray(0x100020, 0x100024)]).toEqual([1, 2, 3, 4]);
  });

  it('hands over command line, modules, memory map and its name', () => {
    const modules = [{ data: new Uint8Array(10).fill(9), commandLine: 'first a b' }, { data: new Uint8Array(5000), commandLine: 'second' }];
    const { image, memory, view } = boot({ kernel: multibootElf(false, 0x100000, [{ address: 0x100000, data: code }]), append: 'com1=115200', modules });
    const info = image.vcpu.rbx;
    const word = (offset: number): number => view.getUint32(offset, true);
    expect(word(info)).toBe(0x24d);
    expect([word(info + 4), word(info + 8)]).toEqual([639, 63 * 1024]);
    expect(text(memory, word(info + 16))).toBe('kernel com1=115200');
    expect(text(memory, word(info + 64))).toBe('Vanderpool');
    const list = word(info + 24);
    expect([word(info + 20), word(list) % 4096, word(list + 4) - word(list), word(list + 16 + 4) - word(list + 16)]).toEqual([2, 0, 10, 5000]);
    expect([text(memory, word(list + 8)), text(memory, word(list + 24)), memory[word(list) + 9]]).toEqual(['first a b', 'second', 9]);
    expect(word(info + 44)).toBe(memoryMap(64 * megabyte).length * 24);
    expect(Number(view.getBigUint64(word(info + 48) + 3 * 24 + 4, true))).toBe(megabyte);
    expect(overlapping(image)).toBe(false);
  });

  it('unpacks an image that is compressed with gzip', () => {
    expect(boot({ kernel: gzipSync(multibootFlat(0x100000, code, 0)) }).image.vcpu.rip).toBe(0x100020);
    expect(refusal({ kernel: gzipSync(multibootFlat(0x100000, code, 0)).subarray(0, 30) })).toMatch(/gzip.*cannot be unpacked/);
  });

  it('refuses what it cannot do', () => {
    const elf = (address: number, memoryLength?: number) => multibootElf(false, address, [{ address, data: code, ...(memoryLength === undefined ? {} : { memoryLength }) }]);
    expect(refusal({ kernel: multibootElf(false, 0x100000, [{ address: 0x100000, data: code }], 0x13) })).toMatch(/features 0x10/);
    expect(refusal({ kernel: elf(0x100000, 100 * megabyte) })).toMatch(/64 MB is too small.*101 MB/);
    expect(refusal({ kernel: elf(0x400) })).toMatch(/below 1 MB must lie between 0x1000 and 0x10000/);
    expect(refusal({ kernel: elf(0x8000, 0x9000) })).toMatch(/below 1 MB/);
    expect(refusal({ kernel: elf(0x100000).subarray(0, 118) })).toMatch(/truncated/);
    expect(refusal({ kernel: multibootElf(false, 0x900000, [{ address: 0x100000, data: code }]) })).toMatch(/entry point 0x900000/);
    expect(refusal({ kernel: elf(0x100000), modules: [{ data: new Uint8Array(64 * megabyte), commandLine: '' }] })).toMatch(/module 1 of 64 MB does not fit/);
    expect(refusal({ kernel: elf(0x100000), append: 'x'.repeat(700_000) })).toMatch(/command lines/);
  });
});

describe('hostile images', () => {
  /** Either a plan whose every byte lies in RAM, or a BootError. */
  function harmless(images: Partial<BootImages> & { readonly kernel: Uint8Array }, memoryBytes: number): void {
    const plan = { memoryBytes, memoryMap: memoryMap(memoryBytes), rsdpAddress: 0xe0000, rsdp: new Uint8Array(36).fill(7) };
    try {
      const { writes } = loadImage({ append: '', modules: [], ...images }, plan);
      for (const { address, data } of writes) expect(Number.isInteger(address) && address >= 0 && address + data.length <= memoryBytes).toBe(true);
    } catch (error) {
      if (!(error instanceof BootError)) throw error;
      expect(error.message.length).toBeGreaterThan(20);
    }
  }

  const damage = fc.array(fc.record({ at: fc.integer({ min: 0, max: 0x270 }), byte: fc.nat(255) }), { maxLength: 12 });
  const wholes: readonly Uint8Array[] = [
    bzImage(), bzImage({ is64: false } satisfies BzImageOptions), bzImage({ protocol: 0x208 }),
    multibootElf(false, 0x100000, [{ address: 0x100000, data: new Uint8Array(600) }]), multibootElf(true, 0x100000, [{ address: 0x100000, data: new Uint8Array(600) }]),
    multibootFlat(0x100000, new Uint8Array(600), 100),
  ];

  it('damaged anywhere in their headers, they load within RAM or are refused', () => {
    fc.assert(
      fc.property(fc.constantFrom(...wholes), damage, fc.integer({ min: 2, max: 32 }), (whole, changes, megabytes) => {
        const kernel = whole.slice();
        for (const { at, byte } of changes) if (at < kernel.length) kernel[at] = byte;
        harmless({ kernel }, megabytes * megabyte);
      }),
      { numRuns: 2000 },
    );
  });

  it('cut off anywhere, they are refused or harmless', () => {
    for (const whole of wholes) for (let length = 0; length < Math.min(whole.length, 1700); length += 13) harmless({ kernel: whole.subarray(0, length) }, 32 * megabyte);
  });

  it('noise is refused', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 20_000 }), kernel => harmless({ kernel }, 16 * megabyte)), { numRuns: 200 });
  });
});
