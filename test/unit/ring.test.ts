import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ring, ringBytes } from '../../core/machine/ring.ts';

function newRing(capacity: number): Ring {
  return new Ring(new SharedArrayBuffer(ringBytes(capacity)), 0, capacity);
}

describe('a byte ring', () => {
  it('gives out what was put in, in order, whatever the sizes', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.uint8Array({ maxLength: 20 }), fc.nat(20))), (steps) => {
      const ring = newRing(16);
      const sent: number[] = [];
      const received: number[] = [];
      for (const [bytes, limit] of steps) {
        const taken = ring.write(bytes);
        expect(taken).toBe(Math.min(bytes.length, 16 - (sent.length - received.length)));
        sent.push(...bytes.subarray(0, taken));
        received.push(...ring.read(limit));
        expect(ring.length).toBe(sent.length - received.length);
      }
      received.push(...ring.read());
      expect(received).toEqual(sent);
    }));
  });

  it('keeps peeked bytes until they are dropped', () => {
    const ring = newRing(8);
    ring.write(Uint8Array.of(1, 2, 3));
    expect([...ring.peek()]).toEqual([1, 2, 3]);
    ring.drop(2);
    expect([...ring.read()]).toEqual([3]);
  });

  it('counts on when its words pass 2^32', () => {
    const buffer = new SharedArrayBuffer(ringBytes(8));
    new Int32Array(buffer, 0, 2).fill(-3);
    const ring = new Ring(buffer, 0, 8);
    expect(ring.length).toBe(0);
    expect(ring.write(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9))).toBe(8);
    expect([...ring.read()]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('wakes a writer of another thread that waits for room', async () => {
    const buffer = new SharedArrayBuffer(ringBytes(8));
    const ring = new Ring(buffer, 0, 8);
    const total = 10_000;
    const module = new URL('../../core/machine/ring.ts', import.meta.url).href;
    const writer = new Worker(`
      const { workerData } = require('node:worker_threads');
      import(workerData.module).then(({ Ring }) => {
        const ring = new Ring(workerData.buffer, 0, 8);
        for (let i = 0; i < ${total}; i++) while (ring.write(Uint8Array.of(i & 255)) === 0) ring.waitForRoom(5000);
      });`, { eval: true, workerData: { buffer, module } });
    const started = performance.now();
    let seen = 0;
    while (seen < total && performance.now() - started < 20_000) {
      const bytes = ring.read();
      for (const byte of bytes) {
        if (byte !== (seen & 255)) throw new Error(`byte ${seen} is ${byte}`);
        seen += 1;
      }
      if (bytes.length === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
    await writer.terminate();
    expect(seen).toBe(total);
  });
});
