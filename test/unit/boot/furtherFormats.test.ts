import { describe, expect, it } from 'vitest';
import { BootError } from '../../../core/boot/loader.ts';
import { loadImage, recogniseImage } from '../../../core/boot/image.ts';
import { memoryMap } from '../../../core/platform/memoryLayout.ts';
import type { BootImages } from '../../../core/boot/image.ts';

const memoryBytes = 64 << 20;
const plan = { memoryBytes, memoryMap: memoryMap(memoryBytes), rsdpAddress: 0xe0000, rsdp: new Uint8Array(36).map((_, index) => index) };
const images = (kernel: Uint8Array, more: Partial<BootImages> = {}): BootImages => ({ kernel, append: 'one two', modules: [], ...more });

/** Guest memory after a boot. */
function boot(source: BootImages): { readonly memory: DataView; readonly bytes: Uint8Array; readonly vcpu: ReturnType<typeof loadImage>['vcpu'] } {
  const bytes = new Uint8Array(memoryBytes);
  const { writes, vcpu } = loadImage(source, plan);
  for (const { address, data } of writes) bytes.set(data, address);
  return { memory: new DataView(bytes.buffer), bytes, vcpu };
}

const text = (bytes: Uint8Array, at: number): string => Buffer.from(bytes.subarray(at, bytes.indexOf(0, at))).toString();

/** A 64-bit ELF file with one segment at 1 MiB and a note. */
function pvhImage(entry: number, owner = 'Xen'): Uint8Array {
  const image = new Uint8Array(0x400);
  const view = new DataView(image.buffer);
  image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(18, 62, true);
  view.setBigUint64(24, 0x100000n, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 2, true);
  const header = (at: number, type: number, fields: readonly number[]): void => {
    view.setUint32(at, type, true);
    fields.forEach((value, index) => view.setBigUint64(at + 8 + index * 8, BigInt(value), true));
  };
  header(64, 1, [0x200, 0x100000, 0x100000, 0x100, 0x180]);
  header(120, 4, [0x300, 0, 0, 0x18, 0x18]);
  view.setUint32(0x300, owner.length + 1, true);
  view.setUint32(0x304, 8, true);
  view.setUint32(0x308, 18, true);
  image.set(Buffer.from(owner), 0x30c);
  view.setUint32(0x310, entry, true);
  image.fill(0xcc, 0x200, 0x300);
  return image;
}

/** A flat multiboot 2 image at 1 MiB with the given further tags. */
function multiboot2Image(tags: readonly (readonly number[])[] = []): Uint8Array {
  const image = new Uint8Array(0x200).fill(0x90);
  const view = new DataView(image.buffer);
  const all = [[2, 24, 0x100000, 0x100000, 0, 0x100400], [3, 12, 0x100100], ...tags, [0, 8]];
  let at = 16;
  for (const [type = 0, size = 8, ...words] of all) {
    view.setUint32(at, type, true);
    view.setUint32(at + 4, size, true);
    words.forEach((word, index) => view.setUint32(at + 8 + index * 4, word, true));
    at += Math.ceil(size / 8) * 8;
  }
  [0xe85250d6, 0, at, -(0xe85250d6 + at) >>> 0].forEach((word, index) => view.setUint32(index * 4, word, true));
  return image;
}

describe('PVH', () => {
  it('starts at the entry of the note, in flat protected mode, with the start information in EBX', () => {
    const { vcpu, memory, bytes } = boot(images(pvhImage(0x100040), { initrd: Uint8Array.of(1, 2, 3) }));
    expect([vcpu.mode, vcpu.rip, memory.getUint32(vcpu.rbx, true)]).toEqual(['protected32', 0x100040, 0x336ec578]);
    const at = (offset: number): number => Number(memory.getBigUint64(vcpu.rbx + offset, true));
    expect([text(bytes, at(24)), at(32)]).toEqual(['one two', 0xe0000]);
    const module = at(16);
    const place = Number(memory.getBigUint64(module, true));
    expect([memory.getUint32(vcpu.rbx + 12, true), Number(memory.getBigUint64(module + 8, true)), bytes[place], place % 4096]).toEqual([1, 3, 1, 0]);
    expect(memory.getUint32(vcpu.rbx + 48, true)).toBe(plan.memoryMap.length);
    expect(Number(memory.getBigUint64(at(40) + 8, true)), 'conventional memory').toBe(0x9fc00);
    expect([bytes[0x1000ff], bytes[0x100100]]).toEqual([0xcc, 0]);
  });

  it('is recognised by the note alone; an entry outside the image is refused', () => {
    expect(recogniseImage(pvhImage(0x100040))).toBe('pvh');
    expect(recogniseImage(pvhImage(0x100040, 'GNU'))).toBe('unknown');
    expect(() => boot(images(pvhImage(0x200000)))).toThrow(/entry point 0x200000/);
  });
});

describe('multiboot 2', () => {
  it('starts at its entry tag with the information tags in EBX', () => {
    const { vcpu, memory, bytes } = boot(images(multiboot2Image(), { modules: [{ data: Uint8Array.of(9), commandLine: 'm x' }] }));
    expect([vcpu.rip, vcpu.rax, vcpu.rbx % 8]).toEqual([0x100100, 0x36d76289, 0]);
    const tags = new Map<number, number>();
    for (let at = vcpu.rbx + 8; memory.getUint32(at, true) !== 0; at += Math.ceil(memory.getUint32(at + 4, true) / 8) * 8) tags.set(memory.getUint32(at, true), at + 8);
    expect([...tags.keys()]).toEqual([1, 2, 3, 4, 6, 14, 15]);
    expect(text(bytes, tags.get(1) ?? 0)).toBe('one two');
    const module = tags.get(3) ?? 0;
    expect([text(bytes, module + 8), bytes[memory.getUint32(module, true)]]).toEqual(['m x', 9]);
    expect(bytes[(tags.get(15) ?? 0) + 35]).toBe(35);
    expect(memory.getUint32(tags.get(6) ?? 0, true)).toBe(24);
  });

  it('is recognised by its magic and its checksum', () => {
    expect(recogniseImage(multiboot2Image())).toBe('multiboot2');
    const damaged = multiboot2Image();
    damaged[12] = (damaged[12] ?? 0) ^ 1;
    expect(recogniseImage(damaged)).toBe('unknown');
  });

  it('refuses demands that it does not know, unless they are optional, and tags that run out of the header', () => {
    expect(() => boot(images(multiboot2Image([[42, 8]])))).toThrow(/tag 42/);
    expect(() => boot(images(multiboot2Image([[42 | (1 << 16), 8]])))).not.toThrow();
    expect(() => boot(images(multiboot2Image([[5, 4]])))).toThrow(BootError);
  });
});
