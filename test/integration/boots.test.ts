/** The quick ones of the boots that `npm run yardstick -- boots` does. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { boots } from '../helpers/boots.ts';

const TEST_MS = 400_000;
let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-boots-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('boots', () => {
  it.each(boots.filter(({ slow }) => !slow))('$title', ({ run }) => run(folder, () => {}), TEST_MS);
});
