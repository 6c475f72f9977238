/** Says what an image is before anything runs, or refuses it as the start would. */
import { readMachineConfig } from './files.ts';
import type { MachineSettings } from './files.ts';

/** @throws ContractError `file-unreadable` or `bad-image`. */
export function checkBoot(settings: MachineSettings): Promise<string> {
  const { boot } = readMachineConfig(settings);
  return Promise.resolve(boot.kind === 'monitor' ? 'the built-in monitor' : 'a kernel image');
}
