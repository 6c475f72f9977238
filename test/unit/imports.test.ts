import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkImports } from '../../build/imports.ts';

let root = '';
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), 'vanderpool-imports-'))));
afterEach(() => rmSync(root, { recursive: true, force: true }));

function check(files: Readonly<Record<string, string>>): string[] {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return checkImports(root);
}

describe('the import rules', () => {
  it.each([
    ['electron in core', { 'core/a.ts': "import { app } from 'electron';" }, 'core/a.ts:1: core/ may not import the package "electron".'],
    ['react in core', { 'core/a.ts': "\nimport { useState } from 'react';" }, 'core/a.ts:2: core/ may not import the package "react".'],
    ['core beyond the contract in the renderer', { 'core/store/s.ts': '', 'renderer/a.ts': "import '../core/store/s.ts';" }, 'renderer/a.ts:1: renderer/ may not import core/store/s.ts.'],
    ['Node in the renderer', { 'renderer/a.ts': "import { readFileSync } from 'node:fs';" }, 'renderer/a.ts:1: renderer/ may not import the package "node:fs".'],
    ['the renderer in core, also when it is loaded late', { 'renderer/r.ts': '', 'core/a.ts': `const r = await ${'import'}('../renderer/r.ts');` }, 'core/a.ts:1: core/ may not import renderer/r.ts.'],
    ['a package in the contract', { 'core/contract/a.ts': "import ws from 'ws';" }, 'core/contract/a.ts:1: core/contract/ may not import the package "ws".'],
    ['a test in core', { 'test/t.ts': '', 'core/a.ts': "import type { T } from '../test/t.ts';" }, 'core/a.ts:1: core/ may not import test/t.ts.'],
    ['a missing extension', { 'core/b.ts': '', 'core/a.ts': "import './b';" }, 'core/a.ts:1: "./b" needs its file extension.'],
    ['a default export', { 'core/a.ts': 'export default 1;' }, 'core/a.ts:1: default exports are not used here; name it.'],
    ['a circle', { 'core/a.ts': "import './b.ts';", 'core/b.ts': "import './a.ts';" }, 'circular import: core/a.ts -> core/b.ts -> core/a.ts'],
  ])('refuse %s', (_what, files, problem) => {
    expect(check(files as unknown as Record<string, string>)).toEqual([problem]);
  });

  it('let pass the contract in the renderer, types that refer to each other, and what a comment says', () => {
    expect(check({
      'core/contract/c.ts': "import { z } from 'zod';",
      'renderer/a.ts': "import { c } from '../core/contract/c.ts';\nimport React from 'react';",
      'core/a.ts': "import { b } from './b.ts';\n// import 'electron';",
      'core/b.ts': "import type { A } from './a.ts';",
      'renderer/vite.config.ts': "import { fileURLToPath } from 'node:url';\nexport default {};",
    })).toEqual([]);
  });

  it('hold in this project', () => {
    expect(checkImports(join(import.meta.dirname, '../..'))).toEqual([]);
  });
});
