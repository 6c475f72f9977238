/**
 * The interpreter and the forms that real guests use, as the build emits them: emitting them anew takes a tenth of the CPU time in which Debian
 * boots, and a module for each form 13 MB of memory.
 */
import type { HelperSignatures } from '../helpers.ts';
import { buildInterpreter } from './build.ts';
import type { ProfileTables } from './build.ts';
import { buildForms } from './coldForms.ts';
import { COLD_FORMS } from './cold.ts';
import { HOT_LEGACY, HOT_LONG, PAIRS_LEGACY, PAIRS_LONG } from './hot.ts';
import type { Program } from '../../isa/ir.ts';
import { programsOf } from './namedForms.ts';
import { membersOf } from './pairs.ts';

/** WebAssembly modules. */
export interface PrebuiltCode {
  readonly long: Uint8Array<ArrayBuffer>;
  readonly legacy: Uint8Array<ArrayBuffer>;
  /** COLD_FORMS, which it puts into the table. */
  readonly forms: Uint8Array<ArrayBuffer>;
}

/** Their files, in dist/. */
export const prebuiltFiles: Readonly<Record<keyof PrebuiltCode, string>> = { long: 'interpreter-long.wasm', legacy: 'interpreter-legacy.wasm', forms: 'forms.wasm' };

/** Index of the table of forms from which on `forms` fills it. */
export const COLD_FIRST = 1024;

export function emitInterpreter(signatures: HelperSignatures, long: boolean, profile: ProfileTables | null): Uint8Array<ArrayBuffer> {
  // A profile counts forms, and which follow which.
  const pairs = profile ? [] : long ? PAIRS_LONG : PAIRS_LEGACY;
  const hot = { singles: programsOf(long ? HOT_LONG : HOT_LEGACY), pairs: pairs.map(pair => programsOf(membersOf(pair)) as [Program, Program]) };
  return buildInterpreter(hot, signatures, { long, profile });
}

export function prebuild(signatures: HelperSignatures): PrebuiltCode {
  const forms = buildForms(programsOf(COLD_FORMS), signatures, COLD_FIRST);
  return { long: emitInterpreter(signatures, true, null), legacy: emitInterpreter(signatures, false, null), forms };
}
