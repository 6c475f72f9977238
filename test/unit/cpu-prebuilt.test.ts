import { describe, expect, it } from 'vitest';
import { helperSignatures } from '../../core/cpu/helpers.ts';
import { COLD_FORMS } from '../../core/cpu/interpreter/cold.ts';
import { HOT_LEGACY, HOT_LONG } from '../../core/cpu/interpreter/hot.ts';
import { numberForms, programsOf } from '../../core/cpu/interpreter/namedForms.ts';
import { COLD_FIRST, prebuild } from '../../core/cpu/interpreter/prebuilt.ts';
import { helperBytes } from '../helpers/cpu-wasm.ts';

describe('the code that the build emits', () => {
  it('is valid WebAssembly', () => {
    for (const code of Object.values(prebuild(helperSignatures(helperBytes)))) expect(WebAssembly.validate(code)).toBe(true);
  });

  it('has each form once', () => {
    const names = [...HOT_LONG, ...HOT_LEGACY, ...COLD_FORMS];
    expect(new Set(names).size).toBe(names.length);
    const numbers = numberForms([HOT_LONG, HOT_LEGACY], COLD_FORMS, COLD_FIRST);
    expect(COLD_FORMS.map(name => numbers.get(name))).toEqual(COLD_FORMS.map((_, index) => COLD_FIRST + index));
  });

  it('is refused where a name is of no row or of several', () => {
    expect(() => programsOf(['64 0F FF - 64 r m'])).toThrow('names no row');
    expect(() => programsOf(['64 FF /9 Ev 64 r'])).toThrow('names no row');
  });
});
