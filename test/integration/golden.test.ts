/** Snapshots that released versions made are restored by this one. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { GOLDEN_ADDRESS, GOLDEN_VALUE } from '../golden/golden.ts';
import { history, startTestEngine, type, until } from '../helpers/engine.ts';

const folder = join(import.meta.dirname, '../golden');
const snapshots = readdirSync(folder).filter((name) => name.endsWith('.vpsnap'));

it('there is one of each version', () => expect(snapshots.length).toBeGreaterThan(0));

it.each(snapshots)('%s goes on where it was', async (name) => {
  const test = await startTestEngine(undefined, machineModuleUrl());
  try {
    const { id } = await test.client.call('snapshot.import', { path: join(folder, name), name: 'Restored' });
    expect(await history(test.client, id)).toContain(`poke ${GOLDEN_ADDRESS}`);
    await test.client.call('vm.resume', { vm: id });
    await type(test.client, id, `peek ${GOLDEN_ADDRESS} 1\r`);
    await until(async () => (await history(test.client, id)).split(`peek ${GOLDEN_ADDRESS}`)[1]?.includes(GOLDEN_VALUE.toString(16)), 'the byte');
  } finally {
    await test.end();
  }
}, 180_000);
