/** A build is one: its programs and the modules that they load, and every source that a module is made of. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parts, root } from '../../build/parts.mjs';
import { STAMP_BYTES } from '../../core/machine/entries.ts';
import { ofThisBuild, readHelpers } from '../../core/machine/helperFile.ts';

const assembly = 'core/cpu/assembly';

describe('a build', () => {
  it('refuses a module of another one', () => {
    const helpers = readHelpers();
    const stamp = Buffer.from(helpers.subarray(-STAMP_BYTES)).toString();
    expect(stamp).toMatch(/^[0-9a-f]{16}$/);
    expect(ofThisBuild(helpers, 'cpu.wasm', stamp)).toBe(helpers);
    expect(() => ofThisBuild(helpers, 'cpu.wasm', 'another')).toThrow(/^cpu\.wasm is of another build than this program: /);
  });

  it('makes the helpers anew when anything that they are made of has changed', () => {
    const texts = readdirSync(join(root, assembly)).filter((name) => name.endsWith('.ts')).map((name) => readFileSync(join(root, assembly, name), 'utf8'));
    const outside = texts.flatMap((text) => [...text.matchAll(/from '(\.\.\/[^']+)'/g)].map(([, path]) => `${join(assembly, path ?? '')}.ts`));
    expect(outside).toContain('core/cpu/layout.ts');
    expect(parts.wasm).toEqual(expect.arrayContaining(outside));
  });
});
