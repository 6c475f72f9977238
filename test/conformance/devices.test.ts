import { PciUart } from '../../core/devices/pciUart.ts';
import { Edu } from '../../core/devices/edu.ts';
import { GuestMemory } from '../../core/vtd/guestMemory.ts';
import { VtdUnit } from '../../core/vtd/unit.ts';
import { vtdDefaults } from '../../core/vtd/capabilities.ts';
import { AcpiPm } from '../../core/platform/acpiPm.ts';
import { CoprocessorError, DebugExit, Port92, PostPort } from '../../core/platform/systemPorts.ts';
import { Hpet } from '../../core/platform/hpet.ts';
import { InterruptSystem } from '../../core/platform/interruptSystem.ts';
import { IoApic } from '../../core/platform/ioApic.ts';
import { KeyboardController } from '../../core/platform/i8042.ts';
import { HostBridge, LpcBridge, PciHost, deviceFunction } from '../../core/platform/pci/host.ts';
import { Msi, MsiX } from '../../core/platform/pci/messages.ts';
import { DebugConsole } from '../../core/platform/systemPorts.ts';
import { DmaMemory } from '../../core/platform/dma.ts';
import { Flash } from '../../core/devices/flash.ts';
import { FwCfg } from '../../core/devices/fwCfg.ts';
import { PciFunction } from '../../core/platform/pci/function.ts';
import { Vga } from '../../core/devices/vga/vga.ts';
import { RootPort } from '../../core/platform/pci/rootPort.ts';
import { PciTestDevice } from '../../core/devices/pciTestDevice.ts';
import { Pic } from '../../core/platform/pic.ts';
import { Pit } from '../../core/platform/pit.ts';
import { Rtc } from '../../core/platform/rtc.ts';
import { E1000e } from '../../core/devices/e1000e/controller.ts';
import { REGISTER_BYTES as E1000E_BYTES } from '../../core/devices/e1000e/registers.ts';
import { FrameLink, createFrameBuffer } from '../../core/net/frameLink.ts';
import { AHCI_BYTES, AhciController } from '../../core/devices/ahci/controller.ts';
import { AtaDisk, AtapiDrive } from '../../core/devices/ahci/drive.ts';
import { NvmeController, REGISTER_BYTES as NVME_BYTES } from '../../core/devices/nvme/controller.ts';
import { VirtioVga } from '../../core/devices/virtio/gpu/vga.ts';
import { VirtioPci } from '../../core/devices/virtio/pci.ts';
import { layout as virtioLayout } from '../../core/devices/virtio/registers.ts';
import { MemoryDisk } from '../doubles/memoryDisk.ts';
import { behindBar, plugged } from '../doubles/virtioDriver.ts';
import { virtioKinds } from '../doubles/virtioKinds.ts';
import { TestDevice } from '../../core/devices/testDevice.ts';
import { Uart16550, comPorts } from '../../core/devices/uart16550.ts';
import { Wire } from '../doubles/wire.ts';
import { componentConformance, deviceConformance } from './device.ts';
import type { LocalApic } from '../../core/platform/localApic.ts';
import type { MachineEvents } from '../../core/platform/machineEvents.ts';
import { flatTopology } from '../../core/platform/topology.ts';

const events: MachineEvents = { powerOff() {}, reset() {}, debugExit() {} };

deviceConformance('8259A pair', () => new Pic(new Wire()));
deviceConformance('8254', clock => new Pit(clock, new Wire()));
deviceConformance('real-time clock', clock => new Rtc(clock, new Wire(), Date.UTC(2026, 1, 28, 23, 59, 58), 512 << 20));
deviceConformance('I/O APIC', () => new IoApic(1, () => true));
deviceConformance('HPET', clock => new Hpet(clock, { pin: () => new Wire(), timer: new Wire(), rtc: new Wire(), legacyReplacement() {} }));
deviceConformance('ACPI power management', clock => new AcpiPm(clock, new Wire(), events));
deviceConformance('16550A', clock => new Uart16550(comPorts[0], clock, new Wire(), () => {}));
deviceConformance('8042 without keyboard', () => new KeyboardController({ keyboard: new Wire(), mouse: new Wire() }, events, false));
deviceConformance('8042 with keyboard', () => new KeyboardController({ keyboard: new Wire(), mouse: new Wire() }, events, true));
deviceConformance('debug exit', () => new DebugExit(events));
deviceConformance('coprocessor error', () => new CoprocessorError(new Wire()));
deviceConformance('POST port', () => new PostPort());
deviceConformance('port 92H', () => new Port92(events));
deviceConformance('test device', () => new TestDevice(() => new Wire()));
deviceConformance('debug console', () => new DebugConsole(() => {}));
deviceConformance('firmware configuration', () => new FwCfg(new DmaMemory(new Uint8Array(0x10000)).port(() => 0), [], [{ name: 'file', contents: () => Uint8Array.of(1, 2, 3) }]));
deviceConformance('VGA', clock => new Vga({ clock, memoryBytes: 1 << 18 }));
deviceConformance('virtio VGA', clock => new VirtioVga({ clock, memoryBytes: 1 << 18 }));
deviceConformance('flash', () => new Flash(0xffc00000, new Uint8Array(0x2000)));
deviceConformance('PCI host', () => {
  const host = new PciHost(events);
  host.plug(deviceFunction(0, 0), new HostBridge());
  host.plug(deviceFunction(31, 0), new LpcBridge());
  return host;
});

for (const [name, make] of Object.entries(virtioKinds)) {
  deviceConformance(name, () => {
    const { fn } = plugged(new VirtioPci(make()), new Uint8Array(0x100000));
    return behindBar(fn, fn.registers, virtioLayout.bytes);
  });
}

deviceConformance('AHCI', () => {
  const { fn } = plugged(new AhciController('ahci-0', [new AtaDisk(new MemoryDisk(), 'serial'), new AtapiDrive(new MemoryDisk(1 << 20, true), 'serial')]), new Uint8Array(0x100000));
  return behindBar(fn, fn.registers, AHCI_BYTES);
});
deviceConformance('NVMe', () => {
  const { fn } = plugged(new NvmeController('nvme-0', new MemoryDisk(), 'serial'), new Uint8Array(0x100000));
  return behindBar(fn, fn.registers, NVME_BYTES);
});
deviceConformance('e1000e', () => {
  const { fn } = plugged(new E1000e('e1000e-0', new FrameLink(createFrameBuffer()), new Uint8Array(6)), new Uint8Array(0x100000));
  return behindBar(fn, fn.registers, E1000E_BYTES);
});

componentConformance('local APIC', clock => localApic(clock), component => {
  const apic = component as LocalApic;
  for (let offset = 0; offset < 0x400; offset += 16) apic.writeRegister(offset, 4, (offset * 0x01010101) >>> 0);
});
componentConformance('local APIC in x2APIC mode', clock => localApic(clock), component => {
  const apic = component as LocalApic;
  apic.writeMsr(0x1b, 0xfee00d00, 0);
  for (let register = 0; register < 0x100; register++) apic.writeMsr(0x800 + register, register, 0);
});
deviceConformance('PCI test device', () => {
  const { fn } = plugged(new PciTestDevice(), new Uint8Array(0x1000));
  return behindBar(fn, fn.memory, 4096);
});
componentConformance('edu', clock => new Edu('edu', clock), component => {
  const { registers } = component as Edu;
  for (let offset = 4; offset < 0xa0; offset += 4) registers.write(offset, 4, offset * 0x1234567 >>> 0);
});
componentConformance('PCI UART', clock => new PciUart('serial', clock, () => {}), component => {
  const { uart } = component as PciUart;
  [0x41, 0x0f, 0xc1, 0x1b, 0x0f].forEach((value, offset) => uart.write(offset, 1, value));
  uart.receive(Uint8Array.of(1, 2, 3));
});
componentConformance('root port', () => {
  const port = new RootPort({ slot: 1, place: deviceFunction(28, 0), wiring: new PciHost(events).wiring, onRelease() {} });
  port.insert(new PciFunction('card', { vendor: 1, device: 2, classCode: 0, revision: 0 }));
  return port;
}, port => {
  for (let register = 0; register < 0x110; register += 4) (port as RootPort).writeConfig(register, 4, 0x1357_9bdf);
});
componentConformance('host bridge', () => new HostBridge(), () => {});
componentConformance('PCI function with messages', () => {
  const msix = new MsiX(4, 0);
  return new PciFunction('card', { vendor: 1, device: 2, classCode: 0, revision: 0, interruptPin: 1 }, { msix, msi: new Msi(2), bars: [{ space: 'memory', size: 0x80, registers: msix }] });
}, component => {
  const card = component as PciFunction;
  for (let offset = 0; offset < 0x80; offset += 4) card.writeConfig(offset, 4, (offset * 0x01010101 + 6) >>> 0);
  card.setInterrupt(true);
});
componentConformance('LPC bridge', () => new LpcBridge(), () => {});

function localApic(clock: ConstructorParameters<typeof InterruptSystem>[0]): LocalApic {
  const apic = new InterruptSystem(clock, flatTopology(1), 40).localApics[0];
  if (apic === undefined) throw new Error('no local APIC');
  return apic;
}
deviceConformance('VT-d unit', () => new VtdUnit({ ...vtdDefaults, hostAddressBits: 39 }, { memory: new GuestMemory(new Uint8Array(1 << 16)), deliver: () => true }));
