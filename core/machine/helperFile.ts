/** The compiled code of the processor: beside the bundle when built, in dist/ when run from the sources. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { prebuiltFiles } from '../cpu/interpreter/prebuilt.ts';
import type { PrebuiltCode } from '../cpu/interpreter/prebuilt.ts';
import { STAMP_BYTES, fromSources } from './entries.ts';

/** The compiled helpers. @throws Error when they are missing, or of another build than this program */
export function readHelpers(): Uint8Array<ArrayBuffer> {
  for (const place of ['./cpu.wasm', '../cpu.wasm', '../../dist/cpu.wasm']) {
    const path = fileURLToPath(new URL(place, import.meta.url));
    if (existsSync(path)) return ofThisBuild(readFileSync(path), path, process.env.VANDERPOOL_WASM_STAMP);
  }
  throw new Error('cpu.wasm is missing: run `npm run build`');
}

/** The interpreter as the build has emitted it. From the sources it is emitted from them: what lies in dist/ may be older. @throws as `readHelpers` */
export function readPrebuilt(): PrebuiltCode | undefined {
  if (fromSources) return undefined;
  const read = (name: string): Uint8Array<ArrayBuffer> => {
    const path = fileURLToPath(new URL(`./${name}`, import.meta.url));
    return ofThisBuild(readFileSync(path), path, process.env.VANDERPOOL_CORE_STAMP);
  };
  return { long: read(prebuiltFiles.long), legacy: read(prebuiltFiles.legacy), forms: read(prebuiltFiles.forms) };
}

/** @param stamp of the build that this program is of; absent: it runs from the sources */
export function ofThisBuild<T extends Uint8Array>(module: T, path: string, stamp: string | undefined): T {
  if (stamp === undefined || Buffer.from(module.subarray(-STAMP_BYTES)).toString('latin1') === stamp) return module;
  throw new Error(`${path} is of another build than this program: run \`npm run build -- --force\`, or install it anew`);
}
