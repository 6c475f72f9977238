import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Flash } from '../../../core/devices/flash.ts';
import { VariableStore } from '../../../core/machine/variables.ts';

const PROGRAM = 0x40;
const READ = 0xff;

describe('UEFI variables', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'vanderpool-variables-'));
    path = join(folder, 'variables.fd');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const made = (): { readonly flash: Flash; readonly store: VariableStore } => {
    const flash = new Flash(0xffc00000, new Uint8Array(8192).fill(0xff));
    return { flash, store: new VariableStore(flash, path) };
  };
  const program = (flash: Flash, offset: number, value: number): void => [PROGRAM, value, READ].forEach((word) => flash.write(offset, 1, word));

  it('go back with a snapshot, and their file with them', () => {
    const { flash, store } = made();
    program(flash, 5000, 0x12);
    const saved = flash.saveState();
    program(flash, 5000, 0x02);
    program(flash, 17, 0x33);
    store.follow(true);
    expect([readFileSync(path)[5000], readFileSync(path)[17]]).toEqual([0x02, 0x33]);
    flash.loadState(structuredClone(saved));
    store.follow(true);
    expect([flash.read(5000, 1), readFileSync(path)[5000], readFileSync(path)[17]]).toEqual([0x12, 0x12, 0xff]);
  });

  it('of a snapshot that a new process goes on from become the file of its VM', () => {
    const { flash } = made();
    program(flash, 9, 0x44);
    const other = made();
    other.flash.loadState(flash.saveState());
    other.store.follow(true);
    expect(readFileSync(path)[9]).toBe(0x44);
  });
});
