/** The PCI devices that a VM's configuration asks for, on the core thread. */
import { DiskClient } from '../block/link.ts';
import { AHCI_PORTS, AhciController } from '../devices/ahci/controller.ts';
import { AtaDisk, AtapiDrive } from '../devices/ahci/drive.ts';
import { NvmeController } from '../devices/nvme/controller.ts';
import { VirtioBlk } from '../devices/virtio/blk.ts';
import { VirtioEntropy } from '../devices/virtio/entropy.ts';
import { VirtioNet } from '../devices/virtio/net.ts';
import { VirtioPci } from '../devices/virtio/pci.ts';
import { FrameLink } from '../net/frameLink.ts';
import type { DiskPlace } from './bootOrder.ts';
import type { PciFunction } from '../platform/pci/function.ts';
import type { MachineDisk } from './disks.ts';
import type { MachineConfig } from './types.ts';

export interface MachineDevices {
  /** In the order of the configuration: each gets the next free slot. */
  readonly functions: readonly PciFunction[];
  /** Where each disk of the configuration is, in its order: the function, and the port of a controller. */
  readonly places: readonly DiskPlace[];
  /** Disks that are assigned to the machine, by the device's id. */
  readonly assigned: ReadonlyMap<string, PciFunction>;
  /** Takes what the I/O thread has answered. Called before each VM entry: cheap when there is nothing. */
  poll(): void;
  /** Waits until the I/O thread has answered everything that was asked. */
  drain(): void;
}

/** @param random 32 random bits: repeatable in machines whose runs repeat */
export function createDevices({ disks = [], networks = [], clock }: Pick<MachineConfig, 'disks' | 'networks' | 'clock'>, random: () => number): MachineDevices {
  // By the instruction count every answer comes at the instruction that asked.
  const clients = disks.map((disk) => new DiskClient(disk.link, disk, clock === 'instructions'));
  const interfaces = networks.map(({ link, mac }, index) => new VirtioNet(`virtio-net-${index}`, new FrameLink(link), mac));
  const attached = disks.flatMap((disk, index) => {
    const client = clients[index];
    return client ? [{ disk, client, index }] : [];
  });
  const own = attached.filter(({ disk }) => disk.assigned === undefined);
  const ownDisks = diskFunctions(own);
  // Installed systems want entropy early; a kernel that was booted directly does without.
  const entropy = own.length + networks.length > 0 ? [new VirtioPci(new VirtioEntropy((bytes) => fill(bytes, random)))] : [];
  return {
    assigned: new Map(attached.flatMap(({ disk, client }) => (disk.assigned === undefined ? [] : [[disk.assigned, new NvmeController(`assigned ${disk.assigned}`, client, disk.serial)]]))),
    places: ownDisks.places,
    functions: [...ownDisks.functions, ...interfaces.map((kind) => new VirtioPci(kind)), ...entropy],
    poll: () => {
      for (const client of clients) client.poll();
      for (const kind of interfaces) kind.poll();
    },
    drain: () => {
      for (const client of clients) client.drain();
    },
  };
}

function fill(bytes: Uint8Array, random: () => number): void {
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = random() & 0xff;
}

interface AttachedDisk {
  readonly disk: MachineDisk;
  readonly client: DiskClient;
  readonly index: number;
}

/** Disks of their own functions, then as many controllers as the drives on cables need. */
function diskFunctions(disks: readonly AttachedDisk[]): { readonly functions: readonly PciFunction[]; readonly places: readonly DiskPlace[] } {
  const isDrive = ({ disk }: AttachedDisk): boolean => disk.bus === 'ahci' || disk.kind === 'cdrom';
  const virtio = disks.filter(({ disk }) => disk.bus === 'virtio' && disk.kind === 'disk').map(({ disk, client, index }) => new VirtioPci(new VirtioBlk(`virtio-blk-${index}`, client, disk.serial)));
  const nvme = disks.filter(({ disk }) => disk.bus === 'nvme' && disk.kind === 'disk').map(({ disk, client, index }) => new NvmeController(`nvme-${index}`, client, disk.serial));
  const drives = disks.filter(isDrive).map(({ disk, client }) => (disk.kind === 'cdrom' ? new AtapiDrive(client, disk.serial) : new AtaDisk(client, disk.serial)));
  const controllers = Array.from({ length: Math.ceil(drives.length / AHCI_PORTS) }, (_, number) => {
    return new AhciController(`ahci-${number}`, drives.slice(number * AHCI_PORTS, (number + 1) * AHCI_PORTS));
  });
  const queues = { virtio: [...virtio], nvme: [...nvme] };
  let drive = 0;
  const places = disks.flatMap((attached): DiskPlace[] => {
    const port = isDrive(attached) ? drive++ : 0;
    const fn = isDrive(attached) ? controllers[Math.floor(port / AHCI_PORTS)] : queues[attached.disk.bus === 'nvme' ? 'nvme' : 'virtio'].shift();
    return fn ? [{ fn, port: port % AHCI_PORTS }] : [];
  });
  return { functions: [...virtio, ...nvme, ...controllers], places };
}
