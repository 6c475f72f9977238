/** UEFI variables that a VM has gone back to: the library knows them from the moment of the restore on, and its folder gets them before anything reads them there. */
import { rmSync } from 'node:fs';
import { ContractError } from '../contract/errors.ts';
import { unwritableBecause } from '../host/reasons.ts';
import { replaceVariables, variablesPath } from '../machine/variablesFile.ts';
import type { Library } from '../store/library.ts';

/** Call when the VM does not run. @throws ContractError when they cannot be put there; the next call tries again */
export function putDueVariables(library: Library, vmId: string): void {
  const variables = library.snapshots.dueVariables(vmId);
  if (variables === null) return;
  const path = variablesPath(library.vmFolder(vmId));
  try {
    if (variables.length > 0) replaceVariables(path, variables);
    else rmSync(path, { force: true });
  } catch (error) {
    throw new ContractError('file-unreadable', `The UEFI variables of the snapshot cannot be put into "${path}": ${unwritableBecause(error)}.`, 'Check the folder and the space on its disk, and try again.', 'path');
  }
  library.snapshots.variablesPut(vmId);
}
