import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockError } from '../../../core/block/blockDevice.ts';
import { checkQcow2 } from '../../../core/block/qcow2/check.ts';
import { createQcow2, growQcow2, qcow2Defaults } from '../../../core/block/qcow2/create.ts';
import type { Qcow2Options } from '../../../core/block/qcow2/create.ts';
import { incompatible } from '../../../core/block/qcow2/header.ts';
import { Qcow2Image } from '../../../core/block/qcow2/image.ts';
import { RawImage } from '../../../core/block/raw.ts';
import { ContractError } from '../../../core/contract/errors.ts';
import { MemoryStorage } from '../../doubles/storage.ts';

const SIZE = 4 * 1024 * 1024;

async function made(options: Partial<Qcow2Options> = {}): Promise<MemoryStorage> {
  const storage = new MemoryStorage();
  await createQcow2(storage, { ...qcow2Defaults, size: SIZE, ...options });
  return storage;
}

function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed * 2654435761 + 1;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

async function contentOf(image: Qcow2Image): Promise<Uint8Array> {
  const bytes = new Uint8Array(image.size);
  await image.read(0, bytes);
  return bytes;
}

async function expectClean(storage: MemoryStorage): Promise<void> {
  expect(await checkQcow2(storage, 'none')).toMatchObject({ corruptions: 0, leaks: 0, messages: [] });
}

interface Step {
  readonly what: 'write' | 'zero' | 'discard' | 'flush';
  readonly sector: number;
  readonly sectors: number;
  readonly seed: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom('write', 'write', 'write', 'zero', 'discard', 'flush'), sector: fc.nat(SIZE / 512 - 1), sectors: fc.integer({ min: 1, max: 600 }), seed: fc.nat(1000),
});

/** Applies a step to the image and to a plain array. */
async function apply(image: Qcow2Image, model: Uint8Array, { what, sector, sectors, seed }: Step): Promise<void> {
  const offset = sector * 512;
  const length = Math.min(sectors * 512, SIZE - offset);
  if (what === 'write') {
    await image.write(offset, pattern(length, seed));
    model.set(pattern(length, seed), offset);
  } else if (what === 'zero') {
    await image.zero(offset, length);
    model.fill(0, offset, offset + length);
  } else if (what === 'discard') {
    await image.discard(offset, length);
    // What is left there is the image's choice: take it over.
    await image.read(offset, model.subarray(offset, offset + length));
  } else {
    await image.flush();
  }
}

describe('a qcow2 image', () => {
  const shapes = [
    { clusterBits: 9 }, { clusterBits: 12, version: 2 as const }, { clusterBits: 16 }, { clusterBits: 21, compression: 'zstd' as const },
  ];
  it.each(shapes)('holds what was written and stays consistent: %o', async shape => {
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 25 }), async steps => {
      const storage = await made(shape);
      const image = await Qcow2Image.open(storage, null);
      const model = new Uint8Array(SIZE);
      for (const one of steps) await apply(image, model, one);
      expect(Buffer.compare(await contentOf(image), model)).toBe(0);
      await image.close();
      await expectClean(storage);
      expect(Buffer.compare(await contentOf(await Qcow2Image.open(storage, null)), model)).toBe(0);
    }), { numRuns: 25 });
  });

  it('shows its backing disk where nothing was written, and zeros behind its end', async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 15 }), async steps => {
      const below = pattern(SIZE / 2, 7);
      const storage = await made({ clusterBits: 12, backing: { file: 'base.img', format: 'raw' } });
      const image = await Qcow2Image.open(storage, new RawImage(new MemoryStorage(below)));
      const model = new Uint8Array(SIZE);
      model.set(below);
      for (const one of steps) await apply(image, model, one);
      expect(Buffer.compare(await contentOf(image), model)).toBe(0);
      await image.close();
      await expectClean(storage);
    }), { numRuns: 25 });
  });

  it('keeps compressed clusters, and replaces them when they are written', async () => {
    for (const compression of ['zlib', 'zstd'] as const) {
      const storage = await made({ compression });
      const image = await Qcow2Image.open(storage, null);
      const text = new Uint8Array(65536).map((_, index) => (index >> 8) & 0xff);
      for (let cluster = 0; cluster < 20; cluster++) await image.writeCompressed(cluster * 65536, text.map(byte => byte ^ cluster));
      await image.close();
      await expectClean(storage);
      expect(storage.length).toBeLessThan(8 * 65536);
      const again = await Qcow2Image.open(storage, null);
      const model = await contentOf(again);
      for (let cluster = 0; cluster < 20; cluster++) expect(model[cluster * 65536 + 0x1234]).toBe(0x12 ^ cluster);
      await again.write(65536 + 512, pattern(512, 3));
      model.set(pattern(512, 3), 65536 + 512);
      expect(Buffer.compare(await contentOf(again), model)).toBe(0);
      await again.close();
      await expectClean(storage);
    }
  });

  it('grows, also past what its L1 table held', async () => {
    const storage = await made({ clusterBits: 9 });
    const image = await Qcow2Image.open(storage, null);
    await image.write(0, pattern(SIZE, 5));
    await image.close();
    await growQcow2(storage, SIZE * 16);
    await expectClean(storage);
    const larger = await Qcow2Image.open(storage, null);
    expect(larger.size).toBe(SIZE * 16);
    await larger.write(SIZE * 16 - 512, pattern(512, 9));
    const read = new Uint8Array(SIZE);
    await larger.read(0, read);
    expect(Buffer.compare(read, pattern(SIZE, 5))).toBe(0);
    await larger.close();
    await expectClean(storage);
  });

  it('grows only when its counts are right: they are mended when it was not closed, and it is left alone when it is marked as corrupt', async () => {
    const storage = await made({ clusterBits: 9, lazyRefcounts: true });
    const image = await Qcow2Image.open(storage, null);
    await image.write(0, pattern(SIZE, 5));
    await image.close();
    // As a program leaves it that counts when it closes: marked, and what it wrote is not counted.
    const uncounted = new MemoryStorage(storage.bytes);
    const view = new DataView(uncounted.bytes.buffer);
    const table = Number(view.getBigUint64(48));
    for (let entry = table; entry < table + view.getUint32(56) * 512; entry += 8) {
      const block = Number(view.getBigUint64(entry));
      if (block !== 0) uncounted.bytes.fill(0, block + (entry === table ? 64 : 0), block + 512);
    }
    uncounted.bytes[79] = incompatible.dirty;
    await growQcow2(uncounted, SIZE * 16);
    const larger = await Qcow2Image.open(uncounted, null);
    const read = new Uint8Array(SIZE);
    await larger.read(0, read);
    expect(Buffer.compare(read, pattern(SIZE, 5))).toBe(0);
    await larger.close();
    await expectClean(uncounted);
    await storage.write(79, Uint8Array.of(incompatible.corrupt));
    await expect(growQcow2(storage, SIZE * 16)).rejects.toThrow('is marked as corrupt');
  });

  it('overlapping accesses at once leave it consistent', async () => {
    const storage = await made({ clusterBits: 12 });
    const image = await Qcow2Image.open(storage, null);
    const jobs = Array.from({ length: 200 }, (_, index) => {
      const offset = ((index * 7919) % 1000) * 4096 + (index % 3) * 512;
      return index % 5 === 4 ? image.discard(offset, 4096) : index % 5 === 3 ? image.read(offset, new Uint8Array(4096)) : image.write(offset, pattern(8192, index).subarray(0, 4096));
    });
    await Promise.all([...jobs, image.flush()]);
    await image.close();
    await expectClean(storage);
  });
});

describe('a crash at any point', () => {
  const steps: readonly Step[] = [
    { what: 'write', sector: 0, sectors: 300, seed: 1 }, { what: 'flush', sector: 0, sectors: 1, seed: 0 }, { what: 'discard', sector: 0, sectors: 128, seed: 0 },
    { what: 'write', sector: 4000, sectors: 64, seed: 2 }, { what: 'flush', sector: 0, sectors: 1, seed: 0 }, { what: 'write', sector: 128, sectors: 256, seed: 3 },
    { what: 'zero', sector: 64, sectors: 200, seed: 0 }, { what: 'flush', sector: 0, sectors: 1, seed: 0 }, { what: 'write', sector: 6000, sectors: 900, seed: 4 },
  ];

  it('leaves an image without corruption that holds everything flushed', async () => {
    for (const clusterBits of [9, 12]) {
      for (let budget = 0; budget < 120; budget += 5) {
        const storage = await made({ clusterBits });
        const image = await Qcow2Image.open(storage, null);
        storage.budget = budget;
        const model = new Uint8Array(SIZE);
        const touched = new Set<number>();
        let flushed = model.slice();
        try {
          for (const one of steps) {
            if (one.what !== 'flush') for (let sector = one.sector; sector < one.sector + one.sectors; sector++) touched.add(sector);
            await apply(image, model, one);
            if (one.what !== 'flush') continue;
            flushed = model.slice();
            touched.clear();
          }
        } catch (error) {
          expect(error).toBeInstanceOf(BlockError);
        }
        for (const kept of [(): boolean => true, (): boolean => false, (index: number): boolean => index % 2 === 0, (index: number): boolean => index % 3 === 1]) {
          const after = new MemoryStorage(storage.afterPowerFailure(kept));
          const report = await checkQcow2(after, 'none');
          expect(report.corruptions, `budget ${budget}: ${report.messages.join('; ')}`).toBe(0);
          const content = await contentOf(await Qcow2Image.open(after, null));
          for (let sector = 0; sector < SIZE / 512; sector++) {
            if (touched.has(sector)) continue;
            const at = sector * 512;
            expect(Buffer.compare(content.subarray(at, at + 512), flushed.subarray(at, at + 512)), `budget ${budget}, sector ${sector}`).toBe(0);
          }
        }
      }
    }
  }, 120_000);
});

describe('a hostile image', () => {
  it('is refused, or reads and writes fail, and nothing hangs or throws anything else', async () => {
    const base = await made({ clusterBits: 9, size: 256 * 1024 });
    const filled = await Qcow2Image.open(base, null);
    await filled.write(0, pattern(128 * 1024, 1));
    await filled.close();
    await fc.assert(fc.asyncProperty(fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { minLength: 1, maxLength: 12 }), fc.boolean(), async (changes, early) => {
      const bytes = base.bytes.slice();
      for (const [at, value] of changes) bytes[early ? at % 2048 : at] = value;
      const storage = new MemoryStorage(bytes);
      const attempts = [
        async () => {
          const image = await Qcow2Image.open(storage, null);
          const rooms = Math.min(image.size, 256 * 1024);
          for (let at = 0; at < rooms; at += 16384) {
            await image.read(at, new Uint8Array(Math.min(16384, rooms - at))).catch(expectBlockError);
            await image.write(at, new Uint8Array(512)).catch(expectBlockError);
          }
          await image.flush().catch(expectBlockError);
        },
        () => checkQcow2(storage, 'none'),
      ];
      for (const attempt of attempts) {
        try {
          await attempt();
        } catch (error) {
          expect(error instanceof ContractError || error instanceof BlockError, String(error)).toBe(true);
        }
      }
    }), { numRuns: 300 });
  }, 60_000);

  it('never sends a guest\'s data into a table', async () => {
    const storage = await made();
    const image = await Qcow2Image.open(storage, null);
    await image.write(0, pattern(65536, 1));
    await image.close();
    // The L2 table is the cluster after those of the new image; its first entry now names the L1 table.
    const view = new DataView(storage.bytes.buffer);
    const l2 = Number(view.getBigUint64(3 * 65536) & 0xfffffffffffe00n);
    view.setBigUint64(l2, 0x8000000000000000n | BigInt(3 * 65536));
    const before = storage.bytes.slice(3 * 65536, 4 * 65536);
    const hostile = await Qcow2Image.open(storage, null);
    await expect(hostile.write(0, new Uint8Array(512))).rejects.toMatchObject({ failure: 'corrupt' });
    await expect(hostile.write(1024 * 1024, new Uint8Array(512))).rejects.toMatchObject({ failure: 'corrupt' });
    expect(storage.bytes.slice(3 * 65536, 4 * 65536)).toEqual(before);
    expect(storage.bytes[79]! & 2).toBe(2);
  });
});

function expectBlockError(error: unknown): void {
  expect(error, String(error)).toBeInstanceOf(BlockError);
}
