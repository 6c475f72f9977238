/** `vanderpool device ...`: resources of the host, and the VMs they are assigned to. */
import { namedKind } from '../contract/device.ts';
import type { Device } from '../contract/device.ts';
import { list, show, table } from './output.ts';
import { withEngine } from './session.ts';
import type { CommonOptions } from './session.ts';
import { badArgument } from './status.ts';

export async function listDevices(options: CommonOptions): Promise<void> {
  const devices = await withEngine(options, (client) => client.call('device.list', {}));
  show(devices, options.json === true, (all) => table(
    ['ID', 'KIND', 'NAME', 'REQUESTER', 'GROUP', 'STATE', 'VM'],
    all.map((device) => [device.id, device.kind, device.name, device.requester, String(device.group), stateOf(device), device.vm?.name ?? '']),
  ));
}

export async function showDevice(reference: string, options: CommonOptions): Promise<void> {
  const devices = await withEngine(options, (client) => client.call('device.get', { device: reference }));
  show(devices, options.json === true, (device) => list([
    ['Name', device.name], ['Id', device.id], ['Kind', device.kind], ['State', stateOf(device)], ['VM', device.vm?.name ?? ''], ['Path', device.path ?? ''],
    ['Vendor', device.vendor], ['Product', device.product], ['Serial', device.serial], ['Requester', device.requester], ['Group', String(device.group)],
  ]));
}

export async function addDevice(kind: string, path: string, options: CommonOptions & { readonly name?: string }): Promise<void> {
  const known = namedKind.options.find((candidate) => candidate === kind);
  if (known === undefined) throw badArgument(`device add: there is no kind "${kind}".`, `There are: ${namedKind.options.join(', ')}.`);
  const { name } = options;
  const device = await withEngine(options, (client) => client.call('device.add', { kind: known, path, ...(name === undefined ? {} : { name }) }));
  show(device, options.json === true, ({ id }) => `Added "${id}".`);
}

export async function forgetDevice(reference: string, options: CommonOptions): Promise<void> {
  await withEngine(options, (client) => client.call('device.forget', { device: reference }));
  show({ forgotten: reference }, options.json === true, () => `Forgot "${reference}".`);
}

export async function assignDevice(reference: string, vm: string, options: CommonOptions): Promise<void> {
  const device = await withEngine(options, (client) => client.call('device.assign', { device: reference, vm }));
  show(device, options.json === true, ({ name }) => `Assigned ${name} to "${device.vm?.name ?? vm}"; ${device.inUse ? 'it is there now' : "it is there from the VM's next start on"}.`);
}

export async function releaseDevice(reference: string, options: CommonOptions & { readonly force?: boolean }): Promise<void> {
  const device = await withEngine(options, (client) => client.call('device.release', { device: reference, force: options.force === true }));
  show(device, options.json === true, ({ name }) => `Released ${name}.`);
}

function stateOf(device: Device): string {
  if (!device.present) return 'missing';
  if (device.inUse) return 'in use';
  return device.vm ? 'assigned' : 'free';
}
