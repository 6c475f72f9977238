/** `vanderpool screenshot`: what a VM's display shows, as a PNG file. */
import { writeFileSync } from 'node:fs';
import { unwritableBecause } from '../host/reasons.ts';
import { withEngine } from './session.ts';
import { badArgument } from './status.ts';
import { show } from './output.ts';
import type { CommonOptions } from './session.ts';

/** @throws ContractError when the VM has no display or does not run, or the file cannot be written */
export async function screenshot(reference: string, path: string, options: CommonOptions): Promise<void> {
  const { png, width, height } = await withEngine(options, (client) => client.call('display.capture', { vm: reference }));
  try {
    writeFileSync(path, png);
  } catch (error) {
    throw badArgument(`"${path}" cannot be written: ${unwritableBecause(error)}.`, 'Choose a file in a folder you may write to.');
  }
  show({ path, width, height }, options.json === true, (made) => `${made.path}: ${made.width} x ${made.height}`);
}
