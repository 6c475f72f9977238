/** Assignable resources: what the host has now, what the library remembers, and who owns what. */
import { resolve } from 'node:path';
import { DEVICES_MAXIMUM, HOT_PLUG_SLOTS } from '../contract/limits.ts';
import type { AssignedDevice, Device, NamedKind } from '../contract/device.ts';
import { ContractError } from '../contract/errors.ts';
import type { Vm } from '../contract/vm.ts';
import type { Cards } from './cards.ts';
import type { Guest } from './guest.ts';
import { problemOf } from '../passthrough/availability.ts';
import { findResources, isSuitable } from '../passthrough/resources.ts';
import { usbResources } from '../passthrough/usb/host.ts';
import type { HostResource } from '../passthrough/resources.ts';
import type { KnownDevice } from '../store/devices.ts';
import type { Library } from '../store/library.ts';
import { formatRequester } from '../vtd/requester.ts';

/** The bus of assignable functions, as the workstation's remapping unit sees it. */
const assignableBus = 0x80;

function requesterOf(slot: number): number {
  return (assignableBus << 8) | slot;
}

const named: Readonly<Record<NamedKind, { readonly title: string; readonly what: string; readonly hint: string }>> = {
  serial: { title: 'serial port', what: 'serial port or pseudoterminal', hint: 'Name a character device, such as /dev/ttyS0 or /dev/pts/3.' },
  nic: { title: 'network socket', what: 'Unix socket', hint: 'Name the socket of a program that speaks Ethernet frames behind their lengths, such as passt or QEMU.' },
  disk: { title: 'disk', what: 'image file or block device', hint: 'Name an image (vanderpool disk create makes one) or a block device, such as /dev/sdb.' },
};

async function findAll(): Promise<readonly HostResource[]> {
  return [...findResources(), ...await usbResources()];
}

/** What the devices need to know of VMs. */
export interface VmDirectory {
  get(reference: string): Promise<Vm>;
  list(): Promise<Vm[]>;
  isAlive(id: string): boolean;
  guest(id: string): Guest | null;
  readonly cards: Pick<Cards, 'freeSlot' | 'takeOut'>;
}

export class Devices {
  readonly #library: Library;
  readonly #vms: VmDirectory;
  readonly #find: () => readonly HostResource[] | Promise<readonly HostResource[]>;

  /** Where the devices of VMs that run are: the VM, and the slot in it. */
  readonly #places = new Map<string, { readonly vm: string; readonly slot: number }>();

  constructor(library: Library, vms: VmDirectory, find: () => readonly HostResource[] | Promise<readonly HostResource[]> = findAll) {
    this.#library = library;
    this.#vms = vms;
    this.#find = find;
  }

  async list(): Promise<Device[]> {
    const found = await this.#find();
    this.#library.noteDevices(found);
    const [known, vms] = await Promise.all([this.#library.devices(), this.#vms.list()]);
    const names = new Map(vms.map((vm) => [vm.id, vm.config.name]));
    return known.map((one) => this.#describe(one, found, names));
  }

  async get(reference: string): Promise<Device> {
    const devices = await this.list();
    const byName = devices.filter(({ name, path }) => name.toLowerCase() === reference.toLowerCase() || (path !== null && path === resolve(reference)));
    const found = devices.find(({ id }) => id === reference) ?? (byName.length === 1 ? byName[0] : undefined);
    if (found) return found;
    const several = byName.length > 1 ? `${byName.length} devices are called "${reference}"` : `there is no device "${reference}"`;
    throw new ContractError('not-found', `In this library ${several}.`, 'See them, with their ids, by `vanderpool device list`.', 'device');
  }

  async add(kind: NamedKind, path: string, name: string | undefined): Promise<Device> {
    const file = resolve(path);
    const { what, hint } = named[kind];
    if (!isSuitable(kind, file)) throw new ContractError('file-unreadable', `"${file}" is no ${what}.`, hint, 'path');
    const id = `${kind}:${file}`;
    this.#library.noteDevices([{ id, kind, name: name ?? `${named[kind].title} ${file}`, vendor: '', product: '', serial: '', path: file }]);
    return this.get(id);
  }

  async forget(reference: string): Promise<void> {
    const device = await this.get(reference);
    if (device.vm) throw new ContractError('wrong-state', `${device.name} is assigned to the VM "${device.vm.name}".`, 'Release it first.', 'device');
    this.#library.forgetDevice(device.id);
  }

  /** @throws ContractError `device-taken` when another VM owns it */
  async assign(reference: string, vmReference: string): Promise<Device> {
    const [device, vm] = [await this.get(reference), await this.#vms.get(vmReference)];
    if (device.vm && device.vm.id !== vm.id) {
      throw new ContractError('device-taken', `${device.name} is assigned to the VM "${device.vm.name}".`, 'Release it there first; a device belongs to one VM.', 'device');
    }
    const owned = (await this.list()).filter((other) => other.vm?.id === vm.id && other.id !== device.id);
    if (owned.length >= DEVICES_MAXIMUM) {
      throw new ContractError('wrong-state', `The VM "${vm.config.name}" has ${DEVICES_MAXIMUM} devices, which is all it can.`, 'Release one first.', 'vm');
    }
    if (device.vm === null) await this.#plug(device, vm);
    this.#library.assignDevice(device.id, vm.id, device.name, vm.id);
    return this.get(device.id);
  }

  /** @param force do not wait until the guest of a running VM lets it go */
  async release(reference: string, force = false): Promise<Device> {
    const device = await this.get(reference);
    if (!device.vm) throw new ContractError('wrong-state', `${device.name} is assigned to no VM.`, 'See who owns what with `vanderpool device list`.', 'device');
    await this.#unplug(device, await this.#vms.get(device.vm.id), force);
    this.#library.assignDevice(device.id, null, device.name, device.vm.id);
    return this.get(device.id);
  }

  /**
   * What a VM that starts now gets.
   * @param leaveOut start without devices that are missing or in use, instead of refusing
   * @throws ContractError `device-missing`
   */
  async forStart(vm: Vm, leaveOut: boolean): Promise<AssignedDevice[]> {
    this.#clearPlaces(vm.id);
    const found = await this.#find();
    const known = (await this.#library.devices()).filter(({ vmId }) => vmId === vm.id);
    if (known.length === 0) return [];
    // A device that came back may have another name on the host.
    this.#library.noteDevices(found.filter(({ id }) => known.some((one) => one.id === id)));
    const owned = (await this.#library.devices()).filter(({ vmId }) => vmId === vm.id);
    const problems = await Promise.all(owned.map((one) => (isPresent(one, found) ? problemOf(one) : 'is not there')));
    const told = owned.flatMap(({ name, path }, index) => (problems[index] === null ? [] : [`${path === null || name.includes(path) ? name : `${name} (${path})`} ${problems[index]}`]));
    if (told.length > 0 && !leaveOut) {
      throw new ContractError(
        'device-missing', `The VM "${vm.config.name}" cannot start with all of its devices: ${told.join('; ')}.`,
        'Plug it in or free it, release it (vanderpool device release), or start without: vanderpool vm start --without-missing.', 'vm',
      );
    }
    return owned.filter((_, index) => problems[index] === null).map(({ id, kind, name, path, slot: group }, index) => {
      const slot = HOT_PLUG_SLOTS + 1 + index;
      this.#places.set(id, { vm: vm.id, slot });
      return { id, kind, name, path, requester: requesterOf(group), slot };
    });
  }

  /** A VM that goes on from a saved state gets its devices as if they came now. @param tell of each that cannot be had */
  async plugAll(vm: Vm, tell: (error: unknown) => void): Promise<void> {
    this.#clearPlaces(vm.id);
    for (const device of (await this.list()).filter((one) => one.vm?.id === vm.id)) await this.#plug(device, vm).catch(tell);
  }

  #clearPlaces(vmId: string): void {
    for (const [id, place] of this.#places) if (place.vm === vmId) this.#places.delete(id);
  }

  #describe(known: KnownDevice, found: readonly HostResource[], names: ReadonlyMap<string, string>): Device {
    const { id, kind, name, vendor, product, serial, path, slot, vmId } = known;
    const owner = vmId === null ? undefined : names.get(vmId);
    return {
      id, kind, name, vendor, product, serial, path, requester: formatRequester(requesterOf(slot)), group: slot, present: isPresent(known, found),
      vm: vmId === null || owner === undefined ? null : { id: vmId, name: owner }, inUse: vmId !== null && this.#vms.isAlive(vmId),
    };
  }

  /** Slots of a VM that hold devices. */
  slotsOf(vmId: string): readonly number[] {
    return [...this.#places.values()].flatMap(({ vm, slot }) => (vm === vmId ? [slot] : []));
  }

  /** The guest has let the device in a slot go: it stays assigned, and is there from the next start on. */
  left(vmId: string, slot: number): void {
    for (const [id, place] of this.#places) if (place.vm === vmId && place.slot === slot) this.#places.delete(id);
  }

  /** A VM that runs gets its device at once. */
  async #plug({ id, kind, name, path, present, group }: Device, vm: Vm): Promise<void> {
    if (vm.state === 'suspended') throw new ContractError('wrong-state', `The VM "${vm.config.name}" is suspended: its devices cannot change.`, 'Resume it first.', 'vm');
    const guest = this.#vms.guest(vm.id);
    if (guest === null) return;
    if (!present) throw new ContractError('device-missing', `${name} is not there.`, 'Plug it in first.', 'device');
    const slot = this.#vms.cards.freeSlot(vm);
    await guest.plugDevice({ id, kind, name, path, requester: requesterOf(group), slot });
    this.#places.set(id, { vm: vm.id, slot });
  }

  /** Takes a device out of a VM that runs, unless its guest has let it go before. */
  async #unplug({ id }: Device, vm: Vm, force: boolean): Promise<void> {
    const guest = this.#vms.guest(vm.id);
    const place = this.#places.get(id);
    if (guest !== null && place !== undefined) await this.#vms.cards.takeOut(vm, guest, place.slot, force);
  }
}

/** The host lists it, or it was named by a person and its file is there. */
function isPresent({ id, kind, path }: HostResource, found: readonly HostResource[]): boolean {
  return found.some((one) => one.id === id) || ((kind === 'serial' || kind === 'disk' || kind === 'nic') && path !== null && id === `${kind}:${path}` && isSuitable(kind, path));
}
