/** What of a VM cannot be part of its snapshots, and what must not change while it is suspended. */
import { statSync } from 'node:fs';
import * as z from 'zod';
import { ContractError } from '../contract/errors.ts';
import type { Vm, VmConfig } from '../contract/vm.ts';
import type { Library } from '../store/library.ts';

const DISKS = 'disk files';
const stamps = z.array(z.strictObject({ path: z.string(), size: z.number(), modifiedMs: z.number() }));

/** @throws ContractError `wrong-state` that names the device */
export async function refuseUnsavable(vm: Vm, library: Library): Promise<void> {
  if (vm.state === 'stopped' || vm.state === 'crashed') return;
  const device = (await library.devices()).find(({ vmId }) => vmId === vm.id);
  if (!device) return;
  const message = `The device ${device.name} is assigned to the VM "${vm.config.name}": what it holds outside the machine cannot be saved.`;
  throw new ContractError('wrong-state', message, 'Stop the VM and release the device (vanderpool device release), or stop the VM instead.');
}

/** The state with what identifies the content of the disk images beside it, which the ended machine has written out. */
export function withDisks(state: unknown, { disks }: VmConfig): Record<string, unknown> {
  return { ...(state as Record<string, unknown>), [DISKS]: disks.map(({ path }) => stampOf(path)) };
}

/** A guest must find its disks as it left them. @throws ContractError `wrong-state` naming the image that was changed since */
export function refuseChangedDisks(vm: Vm, state: unknown): void {
  const saved = stamps.catch([]).parse((state as Record<string, unknown> | null)?.[DISKS]);
  for (const before of saved) {
    const now = stampOf(before.path);
    if (now.size === before.size && now.modifiedMs === before.modifiedMs) continue;
    const message = `The disk image "${before.path}" of the VM "${vm.config.name}" was changed after the VM was suspended: going on would destroy its file systems.`;
    throw new ContractError('wrong-state', message, 'Put the image back, or give the suspended state up: vanderpool vm stop --force.');
  }
}

function stampOf(path: string): z.infer<typeof stamps>[number] {
  const found = statSync(path, { throwIfNoEntry: false });
  return { path, size: found?.size ?? 0, modifiedMs: found?.mtimeMs ?? 0 };
}
