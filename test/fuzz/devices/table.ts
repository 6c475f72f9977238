/** The devices that hostile drivers are let loose on: a row each. */
import { AHCI_BYTES, AhciController } from '../../../core/devices/ahci/controller.ts';
import { AtaDisk, AtapiDrive } from '../../../core/devices/ahci/drive.ts';
import { E1000e } from '../../../core/devices/e1000e/controller.ts';
import { REGISTER_BYTES as E1000E_BYTES } from '../../../core/devices/e1000e/registers.ts';
import { Edu } from '../../../core/devices/edu.ts';
import { Flash } from '../../../core/devices/flash.ts';
import { FwCfg } from '../../../core/devices/fwCfg.ts';
import { NvmeController, REGISTER_BYTES as NVME_BYTES } from '../../../core/devices/nvme/controller.ts';
import { PciTestDevice } from '../../../core/devices/pciTestDevice.ts';
import { PciUart } from '../../../core/devices/pciUart.ts';
import { TestDevice } from '../../../core/devices/testDevice.ts';
import { Uart16550, comPorts } from '../../../core/devices/uart16550.ts';
import { Vga } from '../../../core/devices/vga/vga.ts';
import { VirtioPci } from '../../../core/devices/virtio/pci.ts';
import { VirtioVga } from '../../../core/devices/virtio/gpu/vga.ts';
import { layout as virtio } from '../../../core/devices/virtio/registers.ts';
import { FrameLink, createFrameBuffer } from '../../../core/net/frameLink.ts';
import { AcpiPm } from '../../../core/platform/acpiPm.ts';
import { DmaMemory } from '../../../core/platform/dma.ts';
import { Hpet } from '../../../core/platform/hpet.ts';
import { InterruptSystem } from '../../../core/platform/interruptSystem.ts';
import { IoApic } from '../../../core/platform/ioApic.ts';
import { KeyboardController } from '../../../core/platform/i8042.ts';
import { PciFunction } from '../../../core/platform/pci/function.ts';
import { HostBridge, LpcBridge, PciHost, deviceFunction } from '../../../core/platform/pci/host.ts';
import { Pic } from '../../../core/platform/pic.ts';
import { Pit } from '../../../core/platform/pit.ts';
import { RootPort } from '../../../core/platform/pci/rootPort.ts';
import { Rtc } from '../../../core/platform/rtc.ts';
import { CoprocessorError, DebugExit, Port92 } from '../../../core/platform/systemPorts.ts';
import { flatTopology } from '../../../core/platform/topology.ts';
import { offerGpuCommand } from './gpuCommands.ts';
import { MemoryDisk } from '../../doubles/memoryDisk.ts';
import { virtioKinds } from '../../doubles/virtioKinds.ts';
import { Wire } from '../../doubles/wire.ts';
import type { Random } from '../vtd/random.ts';
import type { AccessSize, Component, Device, Registers } from '../../../core/platform/device.ts';
import type { PciSlot } from '../../../core/platform/pci/function.ts';
import type { VirtualClock } from '../../../core/platform/clock.ts';
import type { LocalApic } from '../../../core/platform/localApic.ts';

/** A window of registers that a driver reaches. */
export interface Window {
  readonly registers: Pick<Registers, 'read' | 'write'>;
  /** First offset. */
  readonly from: number;
  readonly length: number;
  readonly width: AccessSize;
}

export interface Target {
  readonly device: Component;
  readonly windows: readonly Window[];
  /** Its configuration space, where it is a PCI function. */
  readonly fn?: PciFunction;
  /** Disks that may answer late. */
  readonly disks?: readonly MemoryDisk[];
}

/** A register's value on the way to a device that works: the drivers' own first steps. */
type Step = readonly [offset: number, size: AccessSize, value: number];

export interface DeviceRow {
  readonly name: string;
  readonly make: (clock: VirtualClock, ram: Uint8Array) => Target;
  /** Written to the first window now and then. */
  readonly start?: readonly Step[];
  /** Once restored it looks at its queues, where a driver may have put anything meanwhile without a word: it need not be as it was. */
  readonly looksAnew?: boolean;
  /** Puts a request into its ring that is nearly right. False: it does not work and has to be started first. */
  readonly offer?: (random: Random, ram: DataView, registers: Window['registers']) => boolean;
  /** Offsets that make it work: written more often than others. */
  readonly doorbells?: readonly number[];
}

/** Where queues and tables lie that `start` tells of. */
const ringBase = 0x1000;
const events = { powerOff() {}, reset() {}, debugExit() {} };

function plugged(fn: PciFunction, ram: Uint8Array): void {
  const memory = new DmaMemory(ram);
  const slot: PciSlot = { dma: memory.port(() => 8), setLine() {}, sendMessage: (address, data) => void memory.port(() => 8).write32(address, data), map: () => () => {} };
  fn.connect(slot);
  fn.writeConfig(4, 2, 7);
}

function behind(fn: PciFunction, ram: Uint8Array, registers: Pick<Registers, 'read' | 'write'>, length: number, disks: readonly MemoryDisk[] = [], width: AccessSize = 4): Target {
  plugged(fn, ram);
  return { device: fn, fn, disks, windows: [{ registers, from: 0, length, width }] };
}

function localApic(clock: VirtualClock): LocalApic {
  const apic = new InterruptSystem(clock, flatTopology(1), 40).localApics[0];
  if (apic === undefined) throw new Error('no local APIC');
  return apic;
}

function board(device: Device): Target {
  return { device, windows: device.ranges.map(({ offset, length, width }) => ({ registers: device, from: offset, length, width })) };
}

/** Version 1, queues of 16 behind each other, ready. @virtio 3.1 */
const virtioStart: readonly Step[] = [
  [0x14, 1, 0], [0x14, 1, 3], [0x08, 4, 1], [0x0c, 4, 1], [0x08, 4, 0], [0x0c, 4, 0], [0x14, 1, 0x0b],
  ...[0, 1, 2, 3].flatMap((queue): Step[] => {
    const base = ringBase + queue * 0x400;
    return [[0x16, 2, queue], [0x18, 2, 16], [0x20, 4, base], [0x24, 4, 0], [0x28, 4, base + 0x100], [0x2c, 4, 0], [0x30, 4, base + 0x200], [0x34, 4, 0], [0x1c, 2, 1]];
  }),
  [0x14, 1, 0x0f],
];

export const deviceRows: readonly DeviceRow[] = [
  ...Object.entries(virtioKinds).map(([name, make]): DeviceRow => ({
    name, start: virtioStart, looksAnew: true, ...(name === 'virtio-gpu' ? { offer: (random, ram, registers) => offerGpuCommand(random, ram, ringBase, registers) } : {}), doorbells: [0, 1, 2, 3].map(queue => virtio.notify + queue * virtio.notifyMultiplier),
    make: (_clock, ram) => {
      const fn = new VirtioPci(make());
      return behind(fn, ram, fn.registers, virtio.bytes);
    },
  })),
  {
    name: 'nvme', doorbells: [0x1000, 0x1004, 0x1008, 0x100c],
    start: [[0x14, 4, 0], [0x24, 4, 0x000f000f], [0x28, 4, ringBase], [0x2c, 4, 0], [0x30, 4, ringBase + 0x1000], [0x34, 4, 0], [0x14, 4, 0x00460001]],
    make: (_clock, ram) => {
      const disk = new MemoryDisk(1 << 16);
      const fn = new NvmeController('nvme-0', disk, 'serial');
      return behind(fn, ram, fn.registers, NVME_BYTES, [disk]);
    },
  },
  {
    name: 'ahci', doorbells: [0x138, 0x1b8],
    start: [0x100, 0x180].flatMap((port): Step[] => [[4, 4, 0x80000002], [port, 4, ringBase], [port + 8, 4, ringBase + 0x400], [port + 0x14, 4, 0xffffffff], [port + 0x18, 4, 0x11]]),
    make: (_clock, ram) => {
      const disks = [new MemoryDisk(1 << 16), new MemoryDisk(1 << 16, true)] as const;
      const fn = new AhciController('ahci-0', [new AtaDisk(disks[0], 'serial'), new AtapiDrive(disks[1], 'serial')]);
      return behind(fn, ram, fn.registers, AHCI_BYTES, disks);
    },
  },
  {
    name: 'e1000e', doorbells: [0x3818, 0x2818],
    start: [[0x2800, 4, ringBase], [0x2808, 4, 256], [0x3800, 4, ringBase + 0x400], [0x3808, 4, 256], [0x400, 4, 2], [0x100, 4, 2]],
    make: (_clock, ram) => {
      const fn = new E1000e('e1000e-0', new FrameLink(createFrameBuffer()), new Uint8Array(6));
      return behind(fn, ram, fn.registers, E1000E_BYTES);
    },
  },
  {
    name: 'edu', doorbells: [0x98, 0x08],
    make: (clock, ram) => {
      const fn = new Edu('edu', clock);
      return behind(fn, ram, fn.registers, 0xa0);
    },
  },
  {
    name: 'pci-testdev',
    make: (_clock, ram) => {
      const fn = new PciTestDevice();
      return behind(fn, ram, fn.memory, 4096);
    },
  },
  {
    name: 'pci-uart',
    make: (clock, ram) => {
      const fn = new PciUart('serial', clock, () => {});
      return behind(fn, ram, fn.uart, 8, [], 1);
    },
  },
  {
    name: 'root-port',
    make: (_clock, ram) => {
      const port = new RootPort({ slot: 1, place: deviceFunction(28, 0), wiring: new PciHost(events).wiring, onRelease() {} });
      port.insert(new PciFunction('card', { vendor: 1, device: 2, classCode: 0, revision: 0 }, { bars: [{ space: 'memory', size: 0x1000 }] }));
      plugged(port, ram);
      return { device: port, fn: port, windows: [] };
    },
  },
  {
    name: 'vga',
    make: (clock, ram) => {
      const vga = new Vga({ clock, memoryBytes: 1 << 18 });
      plugged(vga, ram);
      return { ...board(vga), fn: vga };
    },
  },
  {
    name: 'virtio-vga',
    make: (clock, ram) => {
      const vga = new VirtioVga({ clock, memoryBytes: 1 << 18 });
      plugged(vga, ram);
      return { ...board(vga), fn: vga };
    },
  },
  {
    name: 'pci-host',
    make: () => {
      const host = new PciHost(events);
      host.plug(deviceFunction(0, 0), new HostBridge());
      host.plug(deviceFunction(31, 0), new LpcBridge());
      return board(host);
    },
  },
  {
    name: 'local-apic',
    make: clock => {
      const apic = localApic(clock);
      return { device: apic, windows: [{ registers: { read: (offset, size) => apic.readRegister(offset, size), write: (offset, size, number) => apic.writeRegister(offset, size, number) }, from: 0, length: 4096, width: 4 }] };
    },
  },
  {
    // Offsets are numbers of MSRs; the one of the commands is wider than a window.
    name: 'x2apic',
    make: clock => {
      const apic = localApic(clock);
      apic.writeMsr(0x1b, 0xfee00d00, 0);
      return { device: apic, windows: [{ registers: { read: offset => (apic.readMsr(0x800 + offset)?.low ?? 0) & 0xff, write: (offset, _size, number) => void apic.writeMsr(0x800 + offset, number * 0x01010101 >>> 0, number) }, from: 0, length: 0x100, width: 1 }] };
    },
  },
  { name: 'fw-cfg', make: (_clock, ram) => board(new FwCfg(new DmaMemory(ram).port(() => 0), [], [{ name: 'file', contents: () => Uint8Array.of(1, 2, 3) }])) },
  { name: 'flash', make: () => board(new Flash(0xffc00000, new Uint8Array(0x2000))) },
  { name: '8259a', make: () => board(new Pic(new Wire())) },
  { name: '8254', make: clock => board(new Pit(clock, new Wire())) },
  { name: 'rtc', make: clock => board(new Rtc(clock, new Wire(), Date.UTC(2026, 1, 28), 512 << 20)) },
  { name: 'io-apic', make: () => board(new IoApic(1, () => true)) },
  { name: 'hpet', make: clock => board(new Hpet(clock, { pin: () => new Wire(), timer: new Wire(), rtc: new Wire(), legacyReplacement() {} })) },
  { name: 'acpi-pm', make: clock => board(new AcpiPm(clock, new Wire(), events)) },
  { name: '16550a', make: clock => board(new Uart16550(comPorts[0], clock, new Wire(), () => {})) },
  { name: '8042', make: () => board(new KeyboardController({ keyboard: new Wire(), mouse: new Wire() }, events, true)) },
  { name: 'port-92', make: () => board(new Port92(events)) },
  { name: 'coprocessor-error', make: () => board(new CoprocessorError(new Wire())) },
  { name: 'debug-exit', make: () => board(new DebugExit(events)) },
  { name: 'test-device', make: () => board(new TestDevice(() => new Wire())) },
];
