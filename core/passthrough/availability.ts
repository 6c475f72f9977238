/** Whether a resource that the host has can be had now: another program may hold it. */
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { asContractError } from '../contract/errors.ts';
import { openLocked } from '../block/open.ts';
import { usbProblem } from './usb/host.ts';
import type { DeviceKind } from '../contract/device.ts';
import type { HostResource } from './resources.ts';

/** Where programs that dial out leave their process ids while they hold a serial port. */
const lockFolder = '/var/lock';

type Probe = (resource: Pick<HostResource, 'id' | 'path'>, folder: string) => Promise<string | null> | string | null;

const probes: Readonly<Partial<Record<DeviceKind, Probe>>> = {
  disk: ({ path }) => diskProblem(path ?? ''), serial: ({ path }, folder) => serialProblem(path ?? '', folder), usb: ({ id }) => usbProblem(id),
};

/** Why a resource cannot be had, as the end of a sentence that begins with its name; null: it can. @param locks tests bring a folder of their own */
export async function problemOf(resource: Pick<HostResource, 'id' | 'kind' | 'path'>, locks = lockFolder): Promise<string | null> {
  return (await probes[resource.kind]?.(resource, locks)) ?? null;
}

async function diskProblem(path: string): Promise<string | null> {
  try {
    const { storage, lock } = openLocked(path, false);
    lock.release();
    await storage.close();
    return null;
  } catch (error) {
    const { code, message } = asContractError(error);
    return code === 'image-in-use' ? 'is in use' : `cannot be opened (${message})`;
  }
}

/** Opening the port would tell: it would also raise its lines, and end a pseudoterminal. */
function serialProblem(path: string, folder: string): string | null {
  const holder = lockHolder(join(folder, `LCK..${basename(path)}`));
  return holder === null ? null : `is in use by process ${holder}`;
}

function lockHolder(file: string): number | null {
  let holder = 0;
  try {
    holder = Number.parseInt(readFileSync(file, 'latin1'), 10);
    if (holder > 0) process.kill(holder, 0);
  } catch (error) {
    // One that may not be signalled lives, too.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return null;
  }
  return holder > 0 ? holder : null;
}
