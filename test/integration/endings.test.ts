/** How a guest ends under `vanderpool run`, by guests of a few instructions on the real machine. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { vanderpool } from '../helpers/command-line.ts';
import { asm, image } from '../helpers/small-guest.ts';

let folder = '';
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'vanderpool-endings-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(code: readonly number[], options: readonly string[] = []) {
  const kernel = join(folder, `kernel-${Math.random().toString(36).slice(2)}`);
  writeFileSync(kernel, image(code));
  return vanderpool(['run', '--kernel', kernel, '--memory', '16M', '--timeout', '60', ...options]);
}

describe('the exit status of run', () => {
  it.each([[0, 1], [1, 3], [21, 43], [0x7f, 255]])('for %i at the debug-exit port is %i', async (value, status) => {
    expect(await run([...asm.eax(value), ...asm.exit])).toEqual({ status, stdout: '', stderr: '' });
  });

  it('is 124 at the timeout, for a guest that spins and for one that halts for good', async () => {
    for (const code of [asm.spin, [...asm.cli, ...asm.hlt]]) {
      const { status, stderr } = await run(code, ['--timeout', '1']);
      expect(stderr).toContain('did not end within 1 s');
      expect(status).toBe(124);
    }
  });

  it('is 126 for a triple fault, whose last state is printed', async () => {
    const { status, stderr } = await run([...asm.ecx(0x600dcafe), ...asm.ud2]);
    expect(stderr).toContain('triple fault');
    expect(stderr).toContain('RCX 00000000600dcafe');
    expect(stderr).toMatch(/RIP 0000000000100025/);
    expect(stderr).toMatch(/CR0 [0-9a-f]{16}/);
    expect(status).toBe(126);
  });

  it('is 0 for the power-off of ACPI', async () => {
    // PM1a control: SLP_TYP 0, which is S5's, and SLP_EN.
    const { status, stderr } = await run([0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, ...asm.spin]);
    expect([status, stderr]).toEqual([0, '']);
  });
});

describe('a guest that resets the machine', () => {
  // Byte 50h of the battery-backed memory counts; the second run ends with its value.
  const select = asm.out8(0x70, 0x50);
  const readCount = [...select, 0xe4, 0x71];
  const again = [...select, ...asm.out8(0x71, 2)];
  const ifSecond = [0x3c, 0x02, 0x75, 0x07, 0x0f, 0xb6, 0xc0, ...asm.exit, ...asm.hlt, 0x90];
  it.each([
    ['by port CF9', asm.out8(0xcf9, 6)],
    ['by the keyboard controller', asm.out8(0x64, 0xfe)],
    ['by port 92', asm.out8(0x92, 1)],
  ])('starts again: %s', async (_how, reset) => {
    expect(await run([...readCount, ...ifSecond, ...again, ...reset, ...asm.spin])).toEqual({ status: 5, stdout: '', stderr: '' });
  });
});
