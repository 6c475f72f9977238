/** Where the compiled helpers of the processor lie: beside the bundle when built, in dist/ when run from the sources. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export function helperFile(): string {
  for (const place of ['./cpu.wasm', '../cpu.wasm', '../../dist/cpu.wasm']) {
    const path = fileURLToPath(new URL(place, import.meta.url));
    if (existsSync(path)) return path;
  }
  throw new Error('cpu.wasm is missing: run `npm run build`');
}
