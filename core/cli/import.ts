/** `vanderpool import` and `export`: machines that other programs have made, and machines of another library. */
import { resolve } from 'node:path';
import { formatSize } from '../contract/memory.ts';
import { importSnapshot } from './snapshot.ts';
import { show } from './output.ts';
import { withEngine } from './session.ts';
import type { CommonOptions } from './session.ts';

export async function importFile(file: string, options: CommonOptions & { readonly name?: string }): Promise<void> {
  if (!/\.(ova|ovf|vmdk|vdi)$/i.test(file)) return importSnapshot(file, options);
  const path = resolve(file);
  const shown = process.stderr.isTTY && options.json !== true;
  const vm = await withEngine(options, async (client) => {
    if (shown) {
      client.subscribe('library', {}, {
        event: (event) => {
          if (event.kind === 'import-progress' && event.path === path && event.total > 0) process.stderr.write(`\r${Math.floor((100 * event.done) / event.total)} %`);
        },
      });
    }
    return client.call('appliance.import', { path, ...(options.name === undefined ? {} : { name: options.name }) });
  });
  if (shown) process.stderr.write('\r');
  show(vm, options.json === true, ({ config: { name, notes } }) => [`Imported "${name}".`, ...(notes === '' ? [] : [notes])].join('\n'));
}

export async function exportVm(reference: string, file: string, options: CommonOptions): Promise<void> {
  const path = resolve(file);
  const answer = await withEngine(options, (client) => client.call('vm.export', { vm: reference, path }));
  show(answer, options.json === true, ({ bytes }) => `Exported "${reference}" to "${path}", ${formatSize(bytes)}.`);
}
