import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Scrollback } from '../../core/engine/scrollback.ts';

const LIMIT = 32;
let folder = '';
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'vanderpool-scrollback-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('scrollback', () => {
  it('is the newest bytes of everything shown, also when it is opened anew at any time', () => {
    let run = 0;
    fc.assert(fc.property(fc.array(fc.oneof(fc.uint8Array({ maxLength: 70 }), fc.constant('reopen' as const)), { maxLength: 20 }), (steps) => {
      const path = join(folder, `${run++}.log`);
      let scrollback = new Scrollback(path, LIMIT);
      const all: number[] = [];
      for (const step of steps) {
        if (step === 'reopen') {
          // As after kill -9: nothing was closed.
          scrollback = new Scrollback(path, LIMIT);
        } else {
          scrollback.append(step);
          all.push(...step);
        }
        const { data, truncated } = scrollback.read();
        expect([...data]).toEqual(all.slice(-LIMIT));
        if (all.length > LIMIT) expect(truncated).toBe(true);
        if (all.length < LIMIT) expect(truncated).toBe(false);
      }
      scrollback.close();
    }), { numRuns: 200 });
  });

  it('keeps its file bounded', () => {
    const path = join(folder, 'a.log');
    const scrollback = new Scrollback(path, LIMIT);
    for (let i = 0; i < 1000; i += 1) {
      scrollback.append(Uint8Array.of(i & 255, i >> 8, 0));
      expect(readFileSync(path).length).toBeLessThanOrEqual(2 * LIMIT);
    }
    scrollback.close();
  });

  it('can be cleared', () => {
    const path = join(folder, 'a.log');
    const scrollback = new Scrollback(path, LIMIT);
    scrollback.append(Uint8Array.of(1, 2, 3));
    scrollback.clear();
    scrollback.append(Uint8Array.of(4));
    expect([...scrollback.read().data]).toEqual([4]);
    expect([...new Scrollback(path, LIMIT).read().data]).toEqual([4]);
    scrollback.close();
  });
});
