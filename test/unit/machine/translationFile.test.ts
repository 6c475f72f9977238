import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findModel } from '../../../core/cpu/models.ts';
import type { Translation } from '../../../core/cpu/jit/translation.ts';
import { TranslationFile } from '../../../core/machine/translationFile.ts';

const HELPERS = Buffer.from('helpers of a build');
let folder = '';
let path = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-'));
  path = join(folder, 'translations', 'machine');
});
afterEach(() => rmSync(folder, { recursive: true }));

function open(helpers: Uint8Array = HELPERS, model = 'max'): TranslationFile {
  return TranslationFile.open(path, helpers, findModel(model)!);
}

function translation(entry: number): Translation {
  const bytes = Uint8Array.from({ length: 24 }, (_, i) => entry + i * 3);
  return {
    size: 2, plain: 0, stackSize: 2, user: false, entry, large: entry % 2 === 0, instructions: 8, runs: Int32Array.of(entry, 16, -4096, 8), bytes, moving: Int32Array.of(entry + 4),
    staying: new Int32Array(0), foreign: Int32Array.of(-1), holds: Int32Array.of(entry), jumps: new Int32Array(0), branches: new Int32Array(0), apart: new Int32Array(0), age: 0,
    compiled: { wasm: Uint8Array.of(1, entry, 3), code: Uint8Array.from({ length: 500 }, (_, i) => i * entry).buffer },
  };
}

/** What a run leaves that has compiled so many regions. */
function leave(count: number): void {
  const file = open();
  for (let i = 0; i < count; i++) file.translations.keep(translation(i));
  file.save();
}

/** What the next run finds: the translations, with what they were compiled to. */
function found(file = open()): readonly unknown[] {
  return file.translations.list().map(known => {
    const compiled = file.translations.use(known);
    return { ...known, compiled };
  });
}

function expected(count: number): readonly unknown[] {
  return Array.from({ length: count }, (_, i) => translation(i));
}

describe('the file of compiled code', () => {
  it('brings what a run has left to the next', () => {
    expect(found()).toEqual([]);
    leave(20);
    expect(found()).toEqual(expected(20));
    expect(readdirSync(join(folder, 'translations'))).toEqual(['machine']);
  });

  it('is not for another build of the program, nor for another model of the processor', () => {
    leave(3);
    expect(found(open(Buffer.from('helpers of another')))).toEqual([]);
    expect(found(open(HELPERS, 'qemu32'))).toEqual([]);
    expect(found()).toHaveLength(3);
  });

  it('is not read where somebody else may write it, or where it is a link', () => {
    leave(3);
    chmodSync(path, 0o620);
    expect(found()).toEqual([]);
    chmodSync(path, 0o600);
    chmodSync(join(folder, 'translations'), 0o702);
    expect(found()).toEqual([]);
    chmodSync(join(folder, 'translations'), 0o700);
    expect(found()).toHaveLength(3);
    renameSync(path, join(folder, 'elsewhere'));
    symlinkSync(join(folder, 'elsewhere'), path);
    expect(found()).toEqual([]);
  });

  it('is written for its owner alone', () => {
    leave(1);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'translations')).mode & 0o777).toBe(0o700);
  });

  it('damaged or cut short anywhere, it gives what is whole, and nothing else', () => {
    leave(4);
    const whole = readFileSync(path);
    const good = expected(4).map(row => JSON.stringify(row));
    for (let at = 0; at < whole.length; at += 7) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 0x40;
      writeFileSync(path, damaged, { mode: 0o600 });
      for (const row of found() as { compiled: unknown }[]) if (row.compiled !== null) expect(good, `byte ${at}`).toContain(JSON.stringify(row));
      writeFileSync(path, whole.subarray(0, at), { mode: 0o600 });
      for (const row of found() as { compiled: unknown }[]) expect(row.compiled, `${at} bytes`).toBeNull();
    }
  });

  it('stays as it is where there is nothing new, and where it cannot be written', () => {
    leave(2);
    utimesSync(path, 1, 1);
    const file = open();
    for (const known of file.translations.list()) file.translations.use(known);
    file.save();
    expect(statSync(path).mtimeMs).toBe(1000);
    // A folder is where the new file would be made.
    mkdirSync(`${path}.${process.pid}.part`);
    writeFileSync(join(`${path}.${process.pid}.part`, 'x'), '');
    const next = open();
    next.translations.keep(translation(7));
    expect(() => next.save()).not.toThrow();
    expect(statSync(path).mtimeMs).toBe(1000);
    expect(found()).toHaveLength(2);
  });

  it('drops what was of no use for long, and keeps what is', () => {
    leave(2);
    for (let run = 0; run < 14; run++) {
      const file = open();
      file.translations.use(file.translations.at(2, 1)[0]!);
      file.translations.keep(translation(10 + run));
      file.save();
    }
    const entries = open().translations.list().map(({ entry }) => entry);
    expect(entries).toContain(1);
    expect(entries).not.toContain(0);
    expect(entries).toContain(23);
  });

  it('clears away what a process left that was ended while it wrote', () => {
    leave(1);
    const left = join(folder, 'translations', 'other.99.part');
    writeFileSync(left, 'half');
    leave(2);
    expect(existsSync(left)).toBe(true);
    utimesSync(left, 1, 1);
    leave(3);
    expect(existsSync(left)).toBe(false);
  });

  it('does without it where there is no place for it', () => {
    writeFileSync(join(folder, 'translations'), 'a file');
    leave(2);
    expect(found()).toEqual([]);
    expect(existsSync(path)).toBe(false);
  });
});
