import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { diskFiles } from '../../../core/snapshot/files.ts';
import { PageMap } from '../../../core/snapshot/pageMap.ts';
import { MapError } from '../../../core/snapshot/runs.ts';
import { PageSource } from '../../../core/snapshot/pageSource.ts';
import { CHUNK_BYTES, hashChunk, SegmentError, SegmentReader, segmentPath, SegmentWriter } from '../../../core/snapshot/segment.ts';

const folder = mkdtempSync(join(tmpdir(), 'vanderpool-segments-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const page = (seed: number): Uint8Array => Uint8Array.from({ length: CHUNK_BYTES }, (_, i) => (i * seed + (i >> 3)) & 0xff);

function write(count: number): string {
  const writer = new SegmentWriter(folder, diskFiles);
  for (let i = 1; i <= count; i += 1) writer.add(page(i), hashChunk(page(i)));
  return segmentPath(folder, writer.finish().name);
}

/** Opens a segment and reads all of it. */
function readAll(path: string): number {
  const reader = new SegmentReader(path);
  try {
    for (let position = 0; position < reader.chunks; position += 1) reader.readFrame(position);
    return reader.chunks;
  } finally {
    reader.close();
  }
}

describe('a segment', () => {
  it('gives back what was put in, chunk by chunk', () => {
    const path = write(37);
    const map = new PageMap(64);
    for (let i = 0; i < 37; i += 1) map.place(i + 10, 5, i);
    const source = new PageSource(map, new Map([[5, path]]));
    for (let i = 0; i < 37; i += 1) expect(Buffer.compare(source.read(i + 10), page(i + 1))).toBe(0);
    expect(source.read(0).every((byte) => byte === 0)).toBe(true);
    const around = new Map<number, Uint8Array>();
    source.readAround(12, (number, content) => void around.set(number, content.slice()));
    expect([...around.keys()]).toEqual(Array.from({ length: 16 }, (_, i) => i + 10));
    expect(Buffer.compare(around.get(25)!, page(16))).toBe(0);
    source.close();
  });
  it('of which any byte is another is refused, with its name', () => {
    const path = write(20);
    const whole = readFileSync(path);
    const damaged = join(folder, 'damaged.chunks');
    fc.assert(fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const bytes = Uint8Array.from(whole);
      bytes[at] = bytes[at]! ^ flip;
      writeFileSync(damaged, bytes);
      expect(() => readAll(damaged)).toThrow(SegmentError);
      expect(() => readAll(damaged)).toThrow(damaged);
    }), { numRuns: 150, seed: 5 });
  });
  it('that was cut anywhere is refused', () => {
    const path = write(20);
    const whole = readFileSync(path);
    const cut = join(folder, 'cut.chunks');
    fc.assert(fc.property(fc.nat(whole.length - 1), (length) => {
      writeFileSync(cut, whole.subarray(0, length));
      expect(() => readAll(cut)).toThrow(SegmentError);
    }), { numRuns: 60, seed: 6 });
  });
  it('is not there under its name before it is whole', () => {
    const writer = new SegmentWriter(folder, diskFiles);
    writer.add(page(1), hashChunk(page(1)));
    expect(() => new SegmentReader(segmentPath(folder, writer.name))).toThrow(/no such file/);
    writer.finish();
    expect(readAll(segmentPath(folder, writer.name))).toBe(1);
    copyFileSync(segmentPath(folder, writer.name), join(folder, 'copy'));
  });
});

describe('the map of a memory', () => {
  const places = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.nat(50)), { minLength: 1, maxLength: 200 });
  it('is the same after it was encoded and decoded', () => {
    fc.assert(fc.property(places, (rows) => {
      const map = new PageMap(rows.length);
      rows.forEach(([segment, position], index) => map.place(index, segment, segment === 0 ? 0 : position));
      const decoded = PageMap.decode(map.encode(), rows.length);
      expect(decoded.segments).toEqual(map.segments);
      expect(decoded.positions).toEqual(map.positions);
    }), { numRuns: 200, seed: 7 });
  });
  it('of another size, or damaged, is refused and nothing else happens', () => {
    const map = new PageMap(100);
    for (let i = 0; i < 100; i += 3) map.place(i, 1 + (i % 2), i * 7);
    const whole = map.encode();
    expect(() => PageMap.decode(whole, 101)).toThrow(MapError);
    fc.assert(fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const bytes = Uint8Array.from(whole);
      bytes[at] = bytes[at]! ^ flip;
      try {
        expect(PageMap.decode(bytes, 100).segments).toEqual(map.segments); // A bit that zstd ignores.
      } catch (error) {
        expect(error).toBeInstanceOf(MapError);
      }
    }), { numRuns: 200, seed: 8 });
  });
});
