import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { vmDefaults } from '../../../core/contract/vm.ts';
import { Supervisor } from '../../../core/engine/supervisor.ts';
import { forkVmProcess } from '../../../core/engine/vm-process.ts';
import { Library } from '../../../core/store/library.ts';
import { freePort } from '../../helpers/ports.ts';

let folder: string;
let library: Library;
let supervisor: Supervisor;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-supervisor-'));
  library = new Library(folder);
  supervisor = new Supervisor(library, forkVmProcess, 'file:///nowhere.js');
});
afterEach(async () => {
  await supervisor.stopAll();
  await library.close();
  rmSync(folder, { recursive: true, force: true });
});

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}

it('a VM whose process cannot be started says why, and keeps nothing', async () => {
  const port = await freePort();
  const [first, ...others] = vmDefaults.serial;
  const { id } = await supervisor.create({ ...vmDefaults, name: 'VM', serial: [{ ...first!, line: { kind: 'tcp-server', port } }, ...others] });
  mkdirSync(join(library.vmFolder(id), 'process.log'));
  await expect(supervisor.start(id)).rejects.toMatchObject({ code: 'file-unreadable', message: expect.stringMatching(/process\.log" cannot be written: it is a folder/) as unknown });
  expect([await answers(port), supervisor.isAlive(id)]).toEqual([false, false]);
});
