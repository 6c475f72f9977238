/** A pseudoterminal of the host as a serial line. */
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { afterEach, expect, it } from 'vitest';
import { SerialLine } from '../../core/passthrough/serialLine.ts';
import { openPair } from '../helpers/pty.ts';

const MIB = 1 << 20;
let other: ChildProcessWithoutNullStreams | undefined;
let line: SerialLine | undefined;
afterEach(() => {
  line?.close();
  other?.kill('SIGKILL');
});

function pattern(seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: MIB }, (_, index) => (index * 31 + (index >> 8) * 7 + seed) & 0xff));
}

/** A pseudoterminal has no modem lines to tell of. */
function noLines(): never {
  throw new Error('modem lines of a pseudoterminal');
}

it('carries a megabyte both ways at once without loss, to a guest that is often busy', async () => {
  const { child, path } = await openPair();
  other = child;
  const [toGuest, fromGuest] = [pattern(1), pattern(99)];
  const received: Buffer[] = [];
  let taken = 0;
  let sent = 0;
  line = new SerialLine(path, {
    // The guest takes a few thousand bytes, or for a moment none.
    input: bytes => {
      const count = taken % 3 === 2 ? 0 : Math.min(bytes.length, 3001);
      taken += 1;
      received.push(Buffer.from(bytes.subarray(0, count)));
      return count;
    },
    output: limit => {
      const piece = fromGuest.subarray(sent, sent + Math.min(limit, 5000));
      sent += piece.length;
      return piece;
    },
    lines: noLines,
  }, reason => { throw new Error(reason); });
  const outside: Buffer[] = [];
  child.stdout.on('data', (data: Buffer) => outside.push(data));
  child.stdin.write(toGuest);
  line.pump();
  const length = (pieces: readonly Buffer[]): number => pieces.reduce((sum, piece) => sum + piece.length, 0);
  await expect.poll(() => [length(received), length(outside)], { timeout: 60_000, interval: 50 }).toEqual([MIB, MIB]);
  expect(Buffer.concat(received).equals(toGuest)).toBe(true);
  expect(Buffer.concat(outside).equals(fromGuest)).toBe(true);
}, 180_000);

it('says when the other side goes, and does not end the process', async () => {
  const { child, path } = await openPair();
  other = child;
  const reasons: string[] = [];
  line = new SerialLine(path, { input: bytes => bytes.length, output: () => new Uint8Array(0), lines: noLines }, reason => reasons.push(reason));
  child.kill('SIGKILL');
  await expect.poll(() => reasons.length).toBeGreaterThan(0);
});
