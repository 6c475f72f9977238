import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { sweepVmFolders } from '../../../core/engine/vmFolders.ts';
import { translationPath } from '../../../core/machine/translationPath.ts';
import type { Library } from '../../../core/store/library.ts';

let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-'));
  vi.stubEnv('VANDERPOOL_TRANSLATIONS', join(folder, 'translations'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

/** A library with a VM of each name. */
function library(...ids: string[]): Library {
  return { folder, list: () => Promise.resolve(ids.map(id => ({ id, config: { disks: [] } }))), snapshots: { disks: { images: () => [] } } } as unknown as Library;
}

/** What a VM that has run leaves; returns the file of its compiled code. */
function leave(id: string): string {
  const own = join(folder, 'vms', id);
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, 'console-0.log'), 'text');
  const { translations } = translationPath(own);
  mkdirSync(join(folder, 'translations'), { recursive: true });
  writeFileSync(translations!, 'code');
  return translations!;
}

describe('what a deleted VM leaves', () => {
  it('goes, the code that was compiled for it too; that of others stays', async () => {
    const [gone, stays] = [leave('gone'), leave('stays')];
    await sweepVmFolders(library('stays'));
    expect(readdirSync(join(folder, 'vms'))).toEqual(['stays']);
    expect(existsSync(gone)).toBe(false);
    expect(existsSync(stays)).toBe(true);
  });

  it('is no matter where nothing is kept', async () => {
    const file = leave('gone');
    vi.stubEnv('VANDERPOOL_TRANSLATIONS', 'off');
    await sweepVmFolders(library());
    expect(readdirSync(join(folder, 'vms'))).toEqual([]);
    expect(existsSync(file)).toBe(true);
  });
});
