/** Where the compiled helpers of the processor lie: beside the bundle when built, in dist/ when run from the sources. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { prebuiltFiles } from '../cpu/interpreter/prebuilt.ts';
import type { PrebuiltCode } from '../cpu/interpreter/prebuilt.ts';
import { fromSources } from './entries.ts';

export function helperFile(): string {
  for (const place of ['./cpu.wasm', '../cpu.wasm', '../../dist/cpu.wasm']) {
    const path = fileURLToPath(new URL(place, import.meta.url));
    if (existsSync(path)) return path;
  }
  throw new Error('cpu.wasm is missing: run `npm run build`');
}

/** The interpreter as the build has emitted it. From the sources it is emitted from them: what lies in dist/ may be older. */
export function readPrebuilt(): PrebuiltCode | undefined {
  if (fromSources) return undefined;
  const read = (name: string): Uint8Array<ArrayBuffer> => readFileSync(fileURLToPath(new URL(`./${name}`, import.meta.url)));
  return { long: read(prebuiltFiles.long), legacy: read(prebuiltFiles.legacy), forms: read(prebuiltFiles.forms) };
}
