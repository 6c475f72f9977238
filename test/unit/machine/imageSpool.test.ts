import { describe, expect, it } from 'vitest';
import { spool, spoolImages } from '../../../core/machine/imageSpool.ts';
import { asm, image, runToEnd, smallMachine } from '../../helpers/small-guest.ts';

const MEGABYTE = 1 << 20;
const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 9)) & 0xff);

describe('an image that is put away', () => {
  it('comes back as it was, as often as it is asked for', () => {
    const fetch = spool(pattern(MEGABYTE + 12_345));
    expect(Buffer.compare(fetch(), pattern(MEGABYTE + 12_345))).toBe(0);
    fetch().fill(0);
    expect(Buffer.compare(fetch(), pattern(MEGABYTE + 12_345))).toBe(0);
  });

  it.skipIf(process.platform === 'win32')('leaves the memory it was in', () => {
    const bytes = pattern(MEGABYTE);
    spool(bytes);
    expect(bytes).toHaveLength(0);
  });

  it('stays where it is when it is small or part of something larger', () => {
    const small = pattern(100);
    expect(spool(small)()).toBe(small);
    const part = pattern(3 * MEGABYTE).subarray(MEGABYTE);
    expect(spool(part)()).toBe(part);
    expect(part).toHaveLength(2 * MEGABYTE);
  });

  it('keeps its place among the others, with the command lines', () => {
    const images = spoolImages({ kernel: pattern(2 * MEGABYTE), initrd: pattern(10), append: 'a b', modules: [{ data: pattern(MEGABYTE), commandLine: 'c' }] })();
    expect([images.kernel.length, images.initrd?.length, images.append, images.modules?.[0]?.data.length, images.modules?.[0]?.commandLine])
      .toEqual([2 * MEGABYTE, 10, 'a b', MEGABYTE, 'c']);
  });
});

describe('a machine with a large module', () => {
  it('has it again after a reset', async () => {
    // Module list: first entry's start, then the word that lies there.
    const code = [0x8b, 0x43, 0x18, 0x8b, 0x00, 0x8b, 0x00, ...asm.exit];
    const kernel = image(code);
    const data = pattern(2 * MEGABYTE);
    const first = Buffer.from(data).readUInt32LE(0);
    const small = await smallMachine(kernel, { boot: { kind: 'image', kernel, append: '', modules: [{ data, commandLine: 'm' }] } });
    for (let round = 0; round < 3; round++) {
      expect(await runToEnd(small)).toEqual({ reason: 'debug-exit', value: first });
      small.machine.reset();
    }
  });
});
