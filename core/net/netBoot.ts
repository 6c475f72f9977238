/** What firmware of a guest is told to start from the network. */
import { statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { ContractError } from '../contract/errors.ts';

export interface NetBoot {
  /** As the guest is told: a file's name, or an address such as http://10.0.2.2/boot.ipxe. */
  readonly name: string;
  /** What the gateway's TFTP server shows; null: nothing, the name leads elsewhere. */
  readonly folder: string | null;
}

/** @param bootFile a file of the host, an address, or empty @param field its place in the configuration @throws ContractError when there is no such file */
export function netBootOf(bootFile: string, field: string): NetBoot | null {
  if (bootFile === '') return null;
  if (/^[a-z]+:\/\//i.test(bootFile)) return { name: bootFile, folder: null };
  if (!statSync(bootFile, { throwIfNoEntry: false })?.isFile()) {
    throw new ContractError('file-unreadable', `The boot file "${bootFile}" cannot be read: there is no such file.`, 'Check the path, or write an address such as http://10.0.2.2/boot.ipxe.', field);
  }
  return { name: basename(bootFile), folder: dirname(bootFile) };
}
