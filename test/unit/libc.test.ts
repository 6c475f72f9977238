import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { adviseHugePages, releaseMemory } from '../../core/host/libc.ts';

const MIB = 1 << 20;
const linux = process.platform === 'linux';

/** Bytes of the process's mappings that the system marks as to be on large pages. */
function advisedBytes(): number {
  let bytes = 0;
  let size = 0;
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const mapping = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (mapping) size = Number.parseInt(mapping[2]!, 16) - Number.parseInt(mapping[1]!, 16);
    else if (/^VmFlags:.* hg( |$)/.test(line)) bytes += size;
  }
  return bytes;
}

describe.runIf(linux)('memory of a machine', () => {
  const memory = new Uint8Array(new WebAssembly.Memory({ initial: 256, maximum: 256, shared: true }).buffer);

  it.runIf(existsSync('/sys/kernel/mm/transparent_hugepage'))('is marked for large pages, as much of it as is asked for', () => {
    const before = advisedBytes();
    expect(adviseHugePages(memory.subarray(4 * MIB, 12 * MIB))).toBe(true);
    expect(advisedBytes() - before).toBe(8 * MIB);
  });

  it('is given back as zeros, and what is around it stays', () => {
    memory.fill(7);
    expect(releaseMemory(memory.subarray(2 * MIB, 3 * MIB))).toBe(true);
    expect([memory[2 * MIB - 1], memory[2 * MIB], memory[3 * MIB - 1], memory[3 * MIB]]).toEqual([7, 0, 0, 7]);
  });

  it('is touched in whole pages alone', () => {
    expect([adviseHugePages(memory.subarray(1, 4097)), releaseMemory(memory.subarray(0, 100)), releaseMemory(memory.subarray(0, 0))]).toEqual([false, false, false]);
    expect(memory[0]).toBe(7);
  });
});
