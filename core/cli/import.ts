/** `vanderpool import` and `export`: machines that other programs have made, and machines of another library. */
import { resolve } from 'node:path';
import { formatSize } from '../contract/memory.ts';
import { importSnapshot } from './snapshot.ts';
import { show } from './output.ts';
import type { CommonOptions } from './session.ts';
import { transferring } from './progress.ts';

export async function importFile(file: string, options: CommonOptions & { readonly name?: string }): Promise<void> {
  if (!/\.(ova|ovf|vmdk|vdi)$/i.test(file)) return importSnapshot(file, options);
  const path = resolve(file);
  const vm = await transferring(options, path, (client) => client.call('appliance.import', { path, ...(options.name === undefined ? {} : { name: options.name }) }));
  show(vm, options.json === true, ({ config: { name, notes } }) => [`Imported "${name}".`, ...(notes === '' ? [] : [notes])].join('\n'));
}

export async function exportVm(reference: string, file: string, options: CommonOptions): Promise<void> {
  const path = resolve(file);
  const answer = await transferring(options, path, (client) => client.call('vm.export', { vm: reference, path }));
  show(answer, options.json === true, ({ bytes }) => `Exported "${reference}" to "${path}", ${formatSize(bytes)}.`);
}
