/** Says what an image is before anything runs, or refuses it as the start would. */
import { loadImage, recogniseImage } from '../boot/image.ts';
import { BootError } from '../boot/loader.ts';
import { ContractError } from '../contract/errors.ts';
import type { BootConfig } from '../contract/vm.ts';
import { memoryMap, tableArea } from '../platform/memoryLayout.ts';
import { checkFirmware } from './firmware.ts';
import { readBootForCheck } from './files.ts';
import type { FirmwareSource } from './types.ts';
import type { MachineSettings } from './files.ts';

/** Reads and plans as the start would, in this thread. @throws ContractError `file-unreadable` or `bad-image`. */
export function checkBootHere(settings: MachineSettings): string {
  const boot = readBootForCheck(settings);
  const { memoryBytes } = settings;
  if (boot.kind === 'monitor') return 'The built-in monitor';
  if (boot.kind === 'firmware') return checkFirmwareHere(boot);
  try {
    loadImage(boot, { memoryBytes, memoryMap: memoryMap(memoryBytes), rsdpAddress: tableArea.base, rsdp: new Uint8Array(36) });
  } catch (error) {
    if (!(error instanceof BootError)) throw error;
    throw nameImage(imageError(error), settings.boot);
  }
  return imageKinds[recogniseImage(boot.kernel)];
}

function checkFirmwareHere({ code, variables }: FirmwareSource): string {
  try {
    checkFirmware({ code, ...(variables ? { variables: variables.data } : {}) });
  } catch (error) {
    if (error instanceof BootError) throw imageError(error);
    throw error;
  }
  return variables ? 'UEFI firmware with a variable store' : 'Firmware';
}

const imageKinds = { linux: 'A Linux kernel (bzImage)', multiboot: 'A multiboot image', multiboot2: 'A multiboot 2 image', pvh: 'An ELF image with a PVH entry', unknown: 'An image' } as const;

/** A loader's refusal as an error of the contract: a whole sentence, with advice. */
export function imageError(error: Error): ContractError {
  const message = `${error.message.charAt(0).toUpperCase()}${error.message.slice(1).replace(/\.$/, '')}.`;
  return new ContractError('bad-image', message, 'Choose another image, or change what the message names.', 'boot');
}

/** The machine knows bytes and no paths: its refusal gets the path of the kernel in front. */
export function nameImage(error: ContractError, boot: BootConfig): ContractError {
  if (error.code !== 'bad-image' || boot.kind !== 'image' || error.message.includes(boot.kernel)) return error;
  return new ContractError(error.code, `"${boot.kernel}": ${error.message}`, error.hint, error.field);
}
