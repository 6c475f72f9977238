/** The PCI devices that a VM's configuration asks for, on the core thread. */
import { BootError } from '../boot/loader.ts';
import { DiskClient } from '../block/link.ts';
import { AHCI_PORTS, AhciController } from '../devices/ahci/controller.ts';
import { AtaDisk, AtapiDrive } from '../devices/ahci/drive.ts';
import { E1000e } from '../devices/e1000e/controller.ts';
import { NvmeController } from '../devices/nvme/controller.ts';
import { VirtioBlk } from '../devices/virtio/blk.ts';
import { VirtioEntropy } from '../devices/virtio/entropy.ts';
import { VirtioKeyboard, VirtioTablet } from '../devices/virtio/input.ts';
import { VirtioNet } from '../devices/virtio/net.ts';
import { VirtioPci } from '../devices/virtio/pci.ts';
import { VirtioScsi } from '../devices/virtio/scsi.ts';
import { ScsiUnit } from '../devices/scsi/unit.ts';
import { FrameLink } from '../net/frameLink.ts';
import { RemotePort } from '../devices/usb/remote.ts';
import { XhciController } from '../devices/usb/xhci/controller.ts';
import { createUsb } from './usb.ts';
import { Drives } from './drives.ts';
import { createParavirtual } from './paravirtual.ts';
import type { Paravirtual, ParavirtualHost } from './paravirtual.ts';
import type { BootPlace } from './bootOrder.ts';
import { expressType } from '../platform/pci/capabilities.ts';
import type { PciFunction } from '../platform/pci/function.ts';
import type { MachineDisk } from './disks.ts';
import type { VirtualClock } from '../platform/clock.ts';
import type { AssignedDevice } from '../contract/device.ts';
import type { LinkedDevice } from './linkedDevices.ts';
import type { MachineUsb } from './usb.ts';
import type { MachineNetwork } from './networks.ts';
import type { MachineConfig } from './types.ts';

export interface MachineDevices {
  /** In the order of the configuration: each gets the next free slot. */
  readonly functions: readonly PciFunction[];
  /** What firmware starts systems from, in its order: disks, each by its function and the port of a controller, and network interfaces. */
  readonly places: readonly BootPlace[];
  /** What is in hot-plug slots from the start, by the slot's number. */
  readonly slots: ReadonlyMap<number, PciFunction>;
  /** Makes the function of a card that is plugged in while the machine runs; null for one that has no part in the I/O thread. */
  card(description: CardDescription): PciFunction | null;
  /** A card is out: its function is asked nothing any more. */
  discard(card: PciFunction): void;
  /** Absent: the machine has none. */
  readonly usb: MachineUsb | null;
  /** What a person's hands are, beside a virtio display. Absent: the machine has none. */
  readonly inputs: MachineInputs | null;
  /** Consoles, balloon, shared folders, sockets. */
  readonly paravirtual: Paravirtual;
  /** CD-ROM drives. */
  readonly drives: Drives;
  /** Takes what the I/O thread has answered. Called before each VM entry: cheap when there is nothing. */
  poll(): void;
  /** Waits until the I/O thread has answered everything that was asked. */
  drain(): void;
  /** Tells the disks that this is the moment of what they have prepared. */
  switchLayers(): void;
}

export interface MachineInputs {
  readonly keyboard: VirtioKeyboard;
  readonly tablet: VirtioTablet;
}

/** What the core thread is told of a card: its part of the I/O thread serves it already. */
export type CardDescription =
  | { readonly kind: 'disk'; readonly disk: MachineDisk }
  | { readonly kind: 'network'; readonly network: MachineNetwork }
  | AssignedCard;

/** A device of the host that is assigned to the machine while it runs. Serial ports and demonstrators need nothing of the I/O thread's at first. */
export interface AssignedCard {
  readonly kind: 'assigned';
  readonly device: AssignedDevice;
  /** Its place among the machine's assigned devices: where its serial port's bytes go. */
  readonly index: number;
  readonly disk?: MachineDisk;
  readonly linked?: LinkedDevice;
}

/** A function, and what of it has answers of the I/O thread to take. */
interface Card {
  readonly fn: PciFunction;
  readonly poll: () => void;
  readonly drain: () => void;
  readonly switchLayer?: () => void;
}

/** What of a configuration leads to devices. */
type DeviceConfig = Pick<MachineConfig, 'disks' | 'networks' | 'clock' | 'usb' | 'linkedDevices' | 'consoles' | 'balloon' | 'shares' | 'vsock' | 'display'>;

/** What devices need of the machine. */
export interface DeviceHost extends ParavirtualHost {
  readonly time: VirtualClock;
  /** 32 random bits: repeatable in machines whose runs repeat. */
  readonly random: () => number;
}

export function createDevices(config: DeviceConfig, host: DeviceHost): MachineDevices {
  const { disks = [], networks = [], clock, usb: wanted, linkedDevices = [] } = config;
  const { time, random } = host;
  const drives = new Drives();
  // By the instruction count every answer comes at the instruction that asked.
  const clientOf = (disk: MachineDisk): DiskClient => new DiskClient(disk.link, disk, clock === 'instructions');
  const card = (description: CardDescription): Card | null => {
    if (description.kind === 'network') return networkCard(description.network, time);
    if (description.kind === 'assigned' && description.linked) return linkedCard(description.linked, time);
    const { disk } = description;
    if (disk === undefined) return null;
    const client = clientOf(disk);
    if (disk.assigned === undefined) return diskCard(disk, client, drives);
    return { fn: new NvmeController(`assigned ${disk.assigned}`, client, disk.serial, expressType.endpoint), poll: () => client.poll(), drain: () => client.drain() };
  };
  const inSlots = [
    ...disks.map((disk) => ({ slot: disk.slot, make: () => card({ kind: 'disk', disk }) })),
    ...networks.map((network) => ({ slot: network.slot, make: () => card({ kind: 'network', network }) })),
    ...linkedDevices.map((device) => ({ slot: device.slot, make: () => linkedCard(device, time) })),
  ].filter(({ slot }) => slot !== undefined);
  const slotted = new Map(inSlots.flatMap(({ slot, make }) => {
    const made = make();
    return slot === undefined || made === null ? [] : [[slot, made] as const];
  }));
  if (slotted.size < inSlots.length) throw new BootError('two devices are configured for one hot-plug slot; give each its own');
  const cards = new Set<Card>(slotted.values());
  const attached = disks.filter(({ slot }) => slot === undefined).map((disk, index) => ({ disk, client: clientOf(disk), index }));
  const onBoard = networks.filter(({ slot }) => slot === undefined);
  const interfaces = onBoard.map((network, index) => networkInterface(network, String(index), time));
  const ownDisks = diskFunctions(attached.filter(disk => !isStick(disk)), drives);
  const sticks = attached.filter(isStick).map(({ disk: { serial }, client }) => ({ disk: client, serial }));
  const usb = wanted === 'on' || sticks.length > 0 ? createUsb(time, sticks) : null;
  const ownPlaces = [...ownDisks.places];
  const bootable = (order: 'first' | 'last'): BootPlace[] => networks.flatMap(({ boot, slot }, index) => {
    const fn = slot === undefined ? interfaces[onBoard.indexOf(networks[index] as MachineNetwork)]?.fn : slotted.get(slot)?.fn;
    return boot?.order === order && fn ? [{ fn, port: 0 }] : [];
  });
  const paravirtual = createParavirtual(config, host);
  const inputs = config.display?.kind === 'virtio' ? { keyboard: new VirtioKeyboard('virtio-keyboard'), tablet: new VirtioTablet('virtio-tablet') } : null;
  // Installed systems want entropy early; a kernel that was booted directly does without.
  const entropy = attached.length + interfaces.length > 0 ? [new VirtioPci(new VirtioEntropy((bytes) => fill(bytes, random)))] : [];
  return {
    usb, inputs, paravirtual, drives,
    places: [...bootable('first'), ...disks.filter((disk) => disk.assigned === undefined && !isStick({ disk })).flatMap(({ slot }) => {
      const fn = slot === undefined ? undefined : slotted.get(slot)?.fn;
      return fn === undefined ? ownPlaces.splice(0, 1) : [{ fn, port: 0 }];
    }), ...bootable('last')],
    functions: [...ownDisks.functions, ...interfaces.map(({ fn }) => fn), ...entropy, ...paravirtual.functions, ...(inputs ? [new VirtioPci(inputs.keyboard), new VirtioPci(inputs.tablet)] : []), ...(usb ? [usb.controller] : [])],
    slots: new Map([...slotted].map(([slot, { fn }]) => [slot, fn])),
    card: (description) => {
      const made = card(description);
      if (made !== null) cards.add(made);
      return made?.fn ?? null;
    },
    discard: (fn) => {
      for (const candidate of cards) if (candidate.fn === fn) cards.delete(candidate);
    },
    poll: () => {
      for (const { client } of attached) client.poll();
      for (const one of interfaces) one.poll();
      paravirtual.poll();
      for (const one of cards) one.poll();
    },
    drain: () => {
      for (const { client } of attached) client.drain();
      for (const one of cards) one.drain();
    },
    switchLayers: () => {
      for (const { client } of attached) client.switchLayer();
      for (const one of cards) one.switchLayer?.();
    },
  };
}

/** A USB device of the host on a controller of its own, or a socket behind a network card. */
function linkedCard({ id, kind, link, mac }: LinkedDevice, time: VirtualClock): Card {
  if (kind === 'nic') {
    const card = new E1000e(`assigned ${id}`, new FrameLink(link), mac);
    return { fn: card, poll: () => card.poll(), drain: () => undefined };
  }
  const controller = new XhciController(`assigned ${id}`, time, expressType.endpoint);
  const port = new RemotePort(controller, new FrameLink(link));
  return { fn: controller, poll: () => port.poll(), drain: () => undefined };
}

function isStick({ disk }: { readonly disk: MachineDisk }): boolean {
  return disk.bus === 'usb' && disk.kind === 'disk';
}

/** A disk with a slot for itself: a function of its own, or a controller with one drive. */
function diskCard(disk: MachineDisk, client: DiskClient, media: Drives): Card {
  const [fn] = diskFunctions([{ disk, client, index: `slot-${disk.slot ?? 0}` }], media).functions;
  if (fn === undefined) throw new BootError(`a disk on ${disk.bus} is in no hot-plug slot; give it another bus`);
  return { fn, poll: () => client.poll(), drain: () => client.drain(), switchLayer: () => client.switchLayer() };
}

function networkCard(network: MachineNetwork, clock: VirtualClock): Card {
  return networkInterface(network, `slot-${network.slot ?? 0}`, clock);
}

/** @param place tells the machine's interfaces apart, in the names of their functions */
function networkInterface({ model, link, mac, boot }: MachineNetwork, place: string, clock: VirtualClock): Card {
  const drain = (): void => undefined;
  if (model === 'e1000e') {
    const fn = new E1000e(`e1000e-${place}`, new FrameLink(link), mac, boot?.rom);
    return { fn, poll: () => fn.poll(), drain };
  }
  const kind = new VirtioNet(`virtio-net-${place}`, new FrameLink(link), mac, clock);
  return { fn: new VirtioPci(kind, boot ? { rom: { data: boot.rom } } : null), poll: () => kind.poll(), drain };
}

function fill(bytes: Uint8Array, random: () => number): void {
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = random() & 0xff;
}

interface AttachedDisk {
  readonly disk: MachineDisk;
  readonly client: DiskClient;
  /** Tells the machine's disks apart, in the names of their functions. */
  readonly index: number | string;
}

/** Disks of their own functions, then as many controllers as the drives on cables need. @param media gets to know disks and drives */
function diskFunctions(disks: readonly AttachedDisk[], media: Drives): { readonly functions: readonly PciFunction[]; readonly places: readonly BootPlace[] } {
  const isDrive = ({ disk }: AttachedDisk): boolean => disk.bus === 'ahci' || (disk.kind === 'cdrom' && disk.bus !== 'scsi');
  const virtio = disks.filter(({ disk }) => disk.bus === 'virtio' && disk.kind === 'disk').map(({ disk, client, index }) => {
    const kind = new VirtioBlk(`virtio-blk-${index}`, client, disk.serial);
    media.addDisk(disk.serial, { client, grown: () => kind.sizeChanged() });
    return new VirtioPci(kind);
  });
  const nvme = disks.filter(({ disk }) => disk.bus === 'nvme' && disk.kind === 'disk').map(({ disk, client, index }) => {
    const controller = new NvmeController(`nvme-${index}`, client, disk.serial, disk.slot === undefined ? expressType.integratedEndpoint : expressType.endpoint);
    media.addDisk(disk.serial, { client, grown: () => controller.sizeChanged() });
    return controller;
  });
  const drives = disks.filter(isDrive).map(({ disk, client }) => {
    if (disk.kind === 'disk') {
      // ATA has no way to tell: the guest has to look again.
      media.addDisk(disk.serial, { client, grown: () => undefined });
      return new AtaDisk(client, disk.serial);
    }
    const drive = new AtapiDrive(client, disk.serial);
    // The guest asks the drive for news.
    media.add(disk.serial, { client, unit: drive.unit, changed: () => undefined });
    return drive;
  });
  const controllers = Array.from({ length: Math.ceil(drives.length / AHCI_PORTS) }, (_, number) => {
    const name = typeof disks[0]?.index === 'string' ? disks[0].index : number;
    return new AhciController(`ahci-${name}`, drives.slice(number * AHCI_PORTS, (number + 1) * AHCI_PORTS));
  });
  const targets = disks.filter(({ disk }) => disk.bus === 'scsi').map(({ disk, client }) => ({ disk, client, unit: new ScsiUnit(disk.kind, client, disk.serial) }));
  const scsi = new VirtioScsi(typeof disks[0]?.index === 'string' ? `virtio-scsi-${disks[0].index}` : 'virtio-scsi', targets.map(({ unit }) => unit));
  targets.forEach(({ disk, client, unit }, target) => {
    if (disk.kind === 'cdrom') media.add(disk.serial, { client, unit, changed: () => scsi.unitChanged(target) });
    else media.addDisk(disk.serial, { client, grown: () => scsi.unitChanged(target) });
  });
  const hosts = targets.length === 0 ? [] : [new VirtioPci(scsi)];
  const queues = { virtio: [...virtio], nvme: [...nvme] };
  let drive = 0;
  let target = 0;
  const places = disks.flatMap((attached): BootPlace[] => {
    if (attached.disk.bus === 'scsi') return hosts.map((fn) => ({ fn, port: target++ }));
    const port = isDrive(attached) ? drive++ : 0;
    const fn = isDrive(attached) ? controllers[Math.floor(port / AHCI_PORTS)] : queues[attached.disk.bus === 'nvme' ? 'nvme' : 'virtio'].shift();
    return fn ? [{ fn, port: port % AHCI_PORTS }] : [];
  });
  return { functions: [...virtio, ...nvme, ...hosts, ...controllers], places };
}
