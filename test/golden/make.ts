/**
 * `node test/golden/make.ts`: makes the golden snapshot of this version, `test/golden/VERSION.vpsnap`: the built-in monitor after it was told to
 * remember a byte. Made once, before the version is released; later versions go on from it (test/integration/golden.test.ts).
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { history, startTestEngine, type, until } from '../helpers/engine.ts';
import { GOLDEN_ADDRESS, GOLDEN_VALUE } from './golden.ts';

const VM = 'Golden';
const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as { readonly version: string };
const path = join(import.meta.dirname, `${version}.vpsnap`);

const test = await startTestEngine(undefined, machineModuleUrl());
const { client } = test;
const prompts = async (): Promise<number> => (await history(client, VM)).split('monitor> ').length - 1;
await client.call('vm.create', { config: { name: VM, memoryBytes: 16 << 20, display: 'none' } });
await client.call('vm.start', { vm: VM });
await until(async () => (await prompts()) === 1, 'the prompt', 60_000);
await type(client, VM, `poke ${GOLDEN_ADDRESS} ${GOLDEN_VALUE}\r`);
await until(async () => (await prompts()) === 2, 'the answer', 60_000);
await client.call('snapshot.take', { vm: VM, name: 'golden', notes: `made by Vanderpool ${version}` });
rmSync(path, { force: true });
const { bytes } = await client.call('snapshot.export', { vm: VM, snapshot: 'golden', path });
await test.end();
console.log(`${path}: ${bytes} bytes`);
process.exit(0);
