import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

  it('stay as they were where there is no room for the new ones', () => {
    writeFileSync(path, 'as they were');
    const core = (file: string): string => JSON.stringify(new URL(`../../../core/${file}`, import.meta.url).href);
    const program = `
      const [{ Flash }, { VariableStore }, { surviveFileSizeLimit }] = await Promise.all([import(${core('devices/flash.ts')}), import(${core('machine/variables.ts')}), import(${core('block/room.ts')})]);
      surviveFileSizeLimit();
      const flash = new Flash(0xffc00000, new Uint8Array(8192).fill(0xff));
      const store = new VariableStore(flash, ${JSON.stringify(path)});
      for (const word of [0x40, 0x12, 0xff]) flash.write(9, 1, word);
      store.follow(true);`;
    // Half of the file fits.
    const { stderr } = spawnSync('bash', ['-c', 'ulimit -f 4; exec "$0" --input-type=module -e "$1"', process.execPath, program], { encoding: 'utf8' });
    expect(stderr).toMatch(/the UEFI variables cannot be kept in/);
    expect(readFileSync(path, 'utf8')).toBe('as they were');
  });
});
