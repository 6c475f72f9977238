/** `npm run yardstick -- boots [--only NAME]...`: starts each system of test/helpers/boots.ts and says how it went. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Boot } from '../helpers/boots.ts';

/** Returns whether all of them got where they should. */
export async function runBoots(boots: readonly Boot[]): Promise<boolean> {
  let well = true;
  for (const { name, title, run } of boots) {
    const folder = mkdtempSync(join(tmpdir(), `vanderpool-${name}-`));
    const began = performance.now();
    let outcome = 'yes';
    try {
      await run(folder, (line) => console.log(`    ${name}: ${line}`));
    } catch (error) {
      outcome = `no: ${error instanceof Error ? error.message : String(error)}`;
      well = false;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    console.log(`${title} (${name}), ${((performance.now() - began) / 1000).toFixed(0)} s: ${outcome}`);
  }
  return well;
}
