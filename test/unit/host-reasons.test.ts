import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { unreadableBecause, unwritableBecause } from '../../core/host/reasons.ts';

let folder = '';
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'vanderpool-reasons-'))));
afterAll(() => rmSync(folder, { recursive: true }));

/** What is thrown by `action`. */
function thrown(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

it('says in words why the host refused a file', () => {
  writeFileSync(join(folder, 'file'), '');
  expect(unreadableBecause(thrown(() => readFileSync(join(folder, 'none'))))).toBe('there is no such file');
  expect(unreadableBecause(thrown(() => readFileSync(folder)))).toBe('it is a folder');
  expect(unreadableBecause(thrown(() => readFileSync(join(folder, 'file/x'))))).toBe('a part of its path is no folder');
  expect(unwritableBecause(thrown(() => writeFileSync(join(folder, 'none/x'), '')))).toBe('there is no such folder');
  expect(unwritableBecause(thrown(() => mkdirSync(join(folder, 'file'))))).toBe('it exists already');
  expect(unwritableBecause(new Error('the cable burns.'))).toBe('the cable burns');
});
