/** Puts a PC together: clock, buses, interrupt controllers, devices, firmware tables. The processor and root mode are not part of it. */

import { AcpiPm, sciIrq } from '../platform/acpiPm.ts';
import { CoprocessorError, DebugExit, Port92, PostPort } from '../platform/systemPorts.ts';
import { Hpet } from '../platform/hpet.ts';
import { InterruptSystem } from '../platform/interruptSystem.ts';
import { KeyboardController } from '../platform/i8042.ts';
import { HostBridge, LpcBridge, PciHost, deviceFunction } from '../platform/pci/host.ts';
import { DmaMemory } from '../platform/dma.ts';
import type { DmaPort } from '../platform/dma.ts';
import { assignAddresses } from '../platform/pci/assign.ts';
import { isInterruptAddress } from '../platform/interrupts.ts';
import { MemoryBus, PortBus } from '../platform/bus.ts';
import { Pit } from '../platform/pit.ts';
import { Rtc, shutdownCode } from '../platform/rtc.ts';
import { StateError } from '../platform/state.ts';
import { TestDevice } from '../devices/testDevice.ts';
import { Uart16550, comPorts } from '../devices/uart16550.ts';
import type { ModemLines } from '../devices/uart16550.ts';
import { applyWrites } from '../boot/loader.ts';
import { residentBios, residentCode } from '../boot/residentBios.ts';
import { buildAcpiImage, buildAcpiTables, facsAddress, wakingVectorOffset } from '../platform/acpi/tables.ts';
import { firmwareDevices, loadFirmware, showFirmware } from './firmware.ts';
import { bootOrder } from './bootOrder.ts';
import { resetVector, wakingState } from '../boot/entryState.ts';
import { buildSmbios } from '../platform/smbios.ts';
import { Edu } from '../devices/edu.ts';
import { PciTestDevice } from '../devices/pciTestDevice.ts';
import { FaultLog } from '../vtd/faultLog.ts';
import { GuestMemory } from '../vtd/guestMemory.ts';
import { Vga } from '../devices/vga/vga.ts';
import { VirtioVga } from '../devices/virtio/gpu/vga.ts';
import type { VirtioGpu } from '../devices/virtio/gpu/gpu.ts';
import { VtdUnit } from '../vtd/unit.ts';
import { dmarBody } from '../vtd/dmar.ts';
import { vtdDefaults } from '../vtd/capabilities.ts';
import { conventionalEnd, ecamWindow, memoryMap, oneMegabyte, pciLegacyIrqs, pciMemoryWindows, pciPorts, usbFirmwareArea } from '../platform/memoryLayout.ts';
import { loadImage } from '../boot/image.ts';
import { AssignedFunctions } from './assignedFunctions.ts';
import { HotPlugSlots } from './hotPlugSlots.ts';
import type { PcConfig } from './pcConfig.ts';
import type { AcpiOptions } from '../platform/acpi/tables.ts';
import type { FirmwareImage } from './firmware.ts';
import type { Display } from '../devices/vga/display.ts';
import { Drives } from './drives.ts';
import type { VirtioBalloon } from '../devices/virtio/balloon.ts';
import type { Flash } from '../devices/flash.ts';
import type { Isolation } from '../passthrough/isolation.ts';
import type { PciFunction } from '../platform/pci/function.ts';
import type { BootImages } from '../boot/image.ts';
import type { Component, Device } from '../platform/device.ts';
import type { BootPlan, FrameBuffer, InitialVcpuState, LoadedImage } from '../boot/loader.ts';
import type { CardDescription, MachineInputs } from './devices.ts';
import type { MachineUsb } from './usb.ts';
import type { MachineExit } from './types.ts';
import { ioApicId } from '../platform/topology.ts';
import type { VirtualClock } from '../platform/clock.ts';

const demonstratorPlace = deviceFunction(30, 0);
const testPlace = deviceFunction(29, 0);
/** Slots below are the host bridge's and a display's. */
const firstDevice = 2;

export class Pc {
  readonly clock: VirtualClock;
  readonly ports = new PortBus();
  readonly memoryBus = new MemoryBus();
  readonly interrupts: InterruptSystem;
  readonly pci: PciHost;
  /** Where functions come and go while the machine runs. */
  readonly slots: HotPlugSlots;
  /** Guest memory as PCI functions reach it. */
  readonly dma: DmaMemory;
  /** The chipset's own way to memory: no remapping unit is in front of it. */
  readonly chipsetMemory: DmaPort;
  /** COM1 to COM4, then those of assigned serial ports at the place of their device. */
  readonly uarts: readonly Uart16550[];
  private readonly assigned: AssignedFunctions;
  readonly rtc: Rtc;
  readonly power: AcpiPm;
  readonly keyboard: KeyboardController;
  /** The display, where the machine has one. */
  readonly display: Display | null;
  /** That display's way beyond a VGA; null: it has none. */
  readonly gpu: VirtioGpu | null;
  /** Requests of devices that were refused. */
  readonly faultLog = new FaultLog();
  /** The guest's remapping unit, where the machine has one. */
  readonly vtd: VtdUnit | null;
  readonly coprocessor: CoprocessorError;
  /** Flash with UEFI variables, where the firmware has some. */
  readonly flash: Flash | null;
  /** Set when the guest asked to stop: root mode looks at it after each exit it handled. */
  exit: MachineExit | null = null;
  private readonly config: PcConfig;
  private readonly pit: Pit;
  private readonly hostBridge: HostBridge;
  private readonly lpcBridge: LpcBridge;
  private frameBuffer: FrameBuffer | null = null;
  private closeEcam: () => void = () => {};
  /** While states are loaded: devices go on with what they had begun, and the interrupt controllers that hear of it are loaded behind them. */
  private heldMessages: (() => void)[] | null = null;
  /** The USB host controller and what a person's input goes to; null: there is none. */
  readonly usb: MachineUsb | null;
  /** In the order in which states are loaded: the clock first, PCI functions behind these, and the interrupt controllers that they drive last. */
  private readonly board: readonly Component[];

  constructor(config: PcConfig) {
    this.config = config;
    this.clock = config.clock;
    const events = {
      powerOff: () => this.stop({ reason: 'power-off' }),
      reset: () => this.stop({ reason: 'reset' }),
      debugExit: (value: number) => this.stop({ reason: 'debug-exit', value }),
    };
    const interrupts = new InterruptSystem(this.clock, config.topology, config.physicalAddressBits);
    this.interrupts = interrupts;
    this.pit = new Pit(this.clock, interrupts.isaWire(0));
    this.rtc = new Rtc(this.clock, interrupts.isaWire(8), config.wallMs, config.memory.length);
    const hpet = new Hpet(this.clock, {
      pin: number => interrupts.pinWire(number),
      timer: interrupts.isaWire(0),
      rtc: interrupts.isaWire(8),
      legacyReplacement: active => {
        this.pit.connect(!active);
        this.rtc.connect(!active);
      },
    });
    this.power = new AcpiPm(this.clock, interrupts.isaWire(sciIrq), events);
    this.rtc.onAlarm = () => this.power.alarm();
    this.uarts = comPorts.map((row, port) => new Uart16550(row, this.clock, interrupts.isaWire(row.irq), bytes => config.serialOutput(port, bytes)));
    const own = new DmaMemory(config.memory, config.codeWritten);
    if (config.memoryRead) own.onRead = config.memoryRead;
    this.chipsetMemory = own.port(() => 0);
    this.dma = new DmaMemory(config.memory, config.codeWritten);
    if (config.memoryRead) this.dma.onRead = config.memoryRead;
    this.pci = new PciHost(events, {
      dma: requester => this.dma.port(requester),
      line: (slot, pin) => interrupts.pciWire(slot, pin),
      message: (requester, address, data) => this.sendMessage(requester, address, data),
      map: (space, base, length, width, registers) => (space === 'port' ? this.ports : this.memoryBus).map(base, length, width, registers),
    });
    this.hostBridge = new HostBridge({
      ecam: window => this.openEcam(window),
      shadow: (base, length, _readable, writable) => config.pageKinds?.(base, length, writable ? 'ram' : 'rom'),
    });
    this.pci.plug(deviceFunction(0, 0), this.hostBridge);
    this.lpcBridge = new LpcBridge((line, irq) => interrupts.routePirq(line, irq));
    this.pci.plug(deviceFunction(31, 0), this.lpcBridge);
    if (config.testDevices) this.plugDemonstrator();
    this.usb = config.devices?.usb ?? null;
    config.devices?.functions.forEach((fn, index) => this.pci.plug(deviceFunction(firstDevice + index, 0), fn));
    this.assigned = new AssignedFunctions({ config, clock: this.clock, pci: this.pci, dma: this.dma, faultLog: this.faultLog });
    const { assigned = [] } = config;
    const cards = new Map(config.devices?.slots ?? []);
    assigned.forEach((device, index) => {
      const fn = this.assigned.make(device, index);
      if (fn !== null) cards.set(device.slot, fn);
    });
    this.slots = new HotPlugSlots(this.pci, cards, (slot, card) => this.released(slot, card), config.slots);
    this.vtd = config.iommu === true ? this.addRemapping() : null;
    this.dma.remapper = this.vtd;
    for (const device of assigned) this.assigned.isolate(device, this.slots, this.vtd);
    this.dma.onMessage = (requester, address, data) => this.sendMessage(requester, address, data);
    const virtioVga = config.display?.kind === 'virtio' ? new VirtioVga({ clock: this.clock, ...config.display }) : null;
    this.gpu = virtioVga?.gpu ?? null;
    this.display = virtioVga ?? (config.display ? new Vga({ clock: this.clock, ...config.display }) : null);
    if (this.display) {
      this.pci.plug(deviceFunction(1, 0), this.display);
      this.ports.attach(this.display);
      this.memoryBus.attach(this.display);
    }
    this.coprocessor = new CoprocessorError(interrupts.isaWire(13));
    const keyboard = new KeyboardController({ keyboard: interrupts.isaWire(1), mouse: interrupts.isaWire(12) }, events, config.keyboard);
    this.keyboard = keyboard;
    const remapping = this.vtd ? [this.vtd] : [];
    const others: readonly Device[] = [
      this.rtc, hpet, this.power, ...this.uarts, this.pci, keyboard, this.coprocessor, new DebugExit(events), new PostPort(), new Port92(events), ...remapping,
    ];
    const firmware = config.firmware ? this.firmwareParts(config.firmware) : { devices: [], flash: null };
    this.flash = firmware.flash;
    if (config.rom && config.pageKinds) loadFirmware(config.firmware ?? { code: residentCode() }, config.rom, config.pageKinds);
    if (config.firmware) this.hostBridge.reset();
    const test = config.testDevices ? [new TestDevice(line => (line > 15 || line === 2 ? interrupts.pinWire(line) : interrupts.isaWire(line)))] : [];
    const devices: readonly Device[] = [this.pit, ...others, ...firmware.devices, ...test, interrupts.pic, interrupts.ioApic];
    for (const device of devices) {
      this.ports.attach(device);
      this.memoryBus.attach(device);
    }
    this.board = [this.clock, this.pit, ...others, ...firmware.devices, ...test];
    this.startFirmware();
  }

  /**
   * Validates what is booted (images, or a loader of its own), puts it and the firmware tables into RAM, and returns the state of the first
   * vCPU; the others wait for SIPI.
   * @throws BootError naming what is wrong; nothing has changed then
   */
  boot(source: BootImages | ((plan: BootPlan) => LoadedImage)): InitialVcpuState {
    const { memory, topology } = this.config;
    const acpi = buildAcpiTables(this.acpiOptions(ecamWindow));
    const plan: BootPlan = { memoryBytes: memory.length, memoryMap: memoryMap(memory.length), rsdpAddress: acpi.address, rsdp: acpi.data.subarray(0, 36), ...(this.frameBuffer ? { frameBuffer: this.frameBuffer } : {}) };
    const image = typeof source === 'function' ? source(plan) : loadImage(source, plan);
    applyWrites({ bytes: memory }, [...residentBios(), biosDataArea(), acpi, buildSmbios(memory.length, topology), ...image.writes]);
    return image.vcpu;
  }

  /** Shows the configured firmware below 1 MiB, as a chipset does at power-on. Returns the state of the first vCPU: that after RESET#. */
  bootFirmware(): InitialVcpuState {
    const { firmware, memory } = this.config;
    if (!firmware) throw new Error('this machine has no firmware');
    showFirmware(firmware, memory);
    return resetVector;
  }

  private acpiOptions(ecam: { readonly base: number; readonly length: number } | null): AcpiOptions {
    const { memory, topology, keyboard, physicalAddressBits } = this.config;
    const dmar = this.vtd ? { dmar: this.dmar(physicalAddressBits, ioApicId(topology)) } : {};
    return { topology, keyboard, display: this.display !== null, ecam, pciMemory: pciMemoryWindows(memory.length, ecam), ...dmar };
  }

  /** The guest's unit, and what firmware keeps mapped of memory for its devices: a USB host controller's. */
  private dmar(hostAddressBits: number, apic: number): Uint8Array {
    const controller = this.pci.list().find(({ fn }) => fn === this.usb?.controller);
    const reservedRegions = controller ? [{ base: usbFirmwareArea.base, limit: usbFirmwareArea.end - 1, devices: [controller.place] }] : [];
    return dmarBody({ hostAddressBits, ioApicId: apic, ioApicRequester: this.interrupts.ioApicRequester, reservedRegions });
  }

  /** Where a device is, from bus 0 on, as firmware writes it. */
  private firmwarePath(fn: PciFunction): { readonly bridges: string; readonly device: string } {
    const { functions = [], slots = new Map<number, PciFunction>() } = this.config.devices ?? {};
    const slot = [...slots].find(([, card]) => card === fn)?.[0];
    if (slot !== undefined) return { bridges: `/pci-bridge@${HotPlugSlots.firmwareName(slot)}`, device: '0' };
    return { bridges: '', device: (firstDevice + functions.indexOf(fn)).toString(16) };
  }

  private firmwareParts(image: FirmwareImage): ReturnType<typeof firmwareDevices> {
    const { memory, topology, iommu, codeWritten, firmwareDebug, devices } = this.config;
    const order = devices ? bootOrder(devices.places, fn => this.firmwarePath(fn)) : [];
    return firmwareDevices({
      image, memoryBytes: memory.length, topology, iommu: iommu === true, bootOrder: order, serialScreen: true,
      dma: new DmaMemory(memory, codeWritten).port(() => 0),
      acpi: () => buildAcpiImage(this.acpiOptions(this.hostBridge.ecam)),
      debug: firmwareDebug ?? (() => {}),
    });
  }

  /** A bridge comes before what is behind it. */
  private get components(): readonly Component[] {
    const { pic, ioApic, localApics } = this.interrupts;
    return [...this.board, ...this.pci.list().map(({ fn }) => fn), pic, ioApic, ...localApics];
  }

  /** Everything to its power-on state, then what firmware sets up. RAM is left alone. */
  reset(): void {
    this.exit = null;
    for (const component of this.components) component.reset();
    this.startFirmware();
  }

  /**
   * What happens between an event that wakes a machine suspended to RAM and its first instruction: everything but RAM, the clocks and the ACPI
   * hardware is as at power-on, and set up as firmware does. Returns where the first vCPU goes on; null: the system has left no address.
   * Firmware sets up itself: it finds memory as it left it, and a word in the real-time clock's that tells it why it starts.
   */
  wake(): InitialVcpuState | null {
    this.power.woken();
    // The hub, too, keeps what it shows below 1 MiB: the BIOS has its stack there.
    const kept: readonly Component[] = [this.power, this.rtc, this.clock, this.hostBridge];
    for (const component of this.components) if (!kept.includes(component)) component.reset();
    if (this.config.firmware) {
      this.rtc.setShutdownCode(shutdownCode.resume);
      return resetVector;
    }
    this.startFirmware();
    const vector = new DataView(this.config.memory.buffer, this.config.memory.byteOffset).getUint32(facsAddress + wakingVectorOffset, true);
    return vector === 0 || vector >= oneMegabyte ? null : wakingState(vector);
  }

  /** PCI functions, and the I/O APIC, by requester ID. */
  requesters(): readonly { readonly requester: number; readonly name: string }[] {
    return [...this.pci.list().map(({ place, fn, bus }) => ({ requester: (bus.number << 8) | place, name: fn.name })), { requester: this.interrupts.ioApicRequester, name: 'io-apic' }];
  }

  /** Runs the timers that are due, and takes answers of the I/O thread. Call before each VM entry. */
  poll(): void {
    this.clock.runDue();
    this.config.devices?.poll();
  }

  /** Between two slices: the disks' contents of this moment are a snapshot's. */
  switchLayers(): void {
    this.config.devices?.switchLayers();
  }

  /** Hands on what the guest has sent to its serial ports. Call after each slice: bytes then travel in batches. */
  flushOutput(): void {
    for (const uart of this.uarts) uart.flush();
    this.assigned.flushOutput();
  }

  /** The way of assigned devices' requests; null: there are none. */
  get isolation(): Isolation | null {
    return this.assigned.isolation;
  }

  get drives(): Drives {
    return this.config.devices?.drives ?? new Drives();
  }

  /** Virtio devices for a person's hands; null: the machine has none. */
  get inputs(): MachineInputs | null {
    return this.config.devices?.inputs ?? null;
  }

  get balloon(): VirtioBalloon | null {
    return this.config.devices?.paravirtual.balloon ?? null;
  }

  /** The other end of an assigned serial port has set its modem lines. */
  setModemLines(port: number, lines: ModemLines): void {
    this.assigned.uart(port)?.setPeer(lines);
  }

  /** Offers received bytes to a serial port; returns how many it took. */
  serialInput(port: number, bytes: Uint8Array): number {
    const taken = this.config.devices?.paravirtual.serialInput(port, bytes) ?? null;
    return taken ?? (this.uarts[port] ?? this.assigned.uart(port))?.receive(bytes) ?? 0;
  }

  powerButton(): void {
    this.power.pressPowerButton();
  }

  /** Makes a card and puts it into a hot-plug slot. @throws ContractError when the slot is taken */
  plug(slot: number, description: CardDescription): void {
    const { devices } = this.config;
    if (!devices) return;
    const assigned = description.kind === 'assigned' ? description.device : null;
    const card = devices.card(description) ?? (description.kind === 'assigned' ? this.assigned.make(description.device, description.index) : null);
    if (card === null) return;
    try {
      this.slots.plug(slot, card);
    } catch (error) {
      this.discard(card);
      throw error;
    }
    if (assigned !== null) this.assigned.isolate(assigned, this.slots, this.vtd);
  }

  /** Asks the guest to let a slot's card go, or pulls it out. `onRelease` tells when it is out. @throws ContractError when the slot is empty */
  unplug(slot: number, force: boolean): void {
    if (!force) return this.slots.release(slot);
    const card = this.slots.card(slot);
    this.slots.remove(slot);
    if (card !== null) this.released(slot, card);
  }

  /** A card is out: nothing of it is asked any more, and an assigned device's DMA reaches nothing. */
  private discard(card: PciFunction): void {
    this.config.devices?.discard(card);
    this.assigned.release(card);
  }

  private released(slot: number, card: PciFunction): void {
    this.discard(card);
    this.config.onRelease?.(slot);
  }

  /** The state of every component by its name. */
  saveState(): Record<string, unknown> {
    return Object.fromEntries(this.components.map(component => [component.name, component.saveState()]));
  }

  /**
   * Restores what `saveState` returned.
   * @throws StateError naming the component; the machine must then be reset or thrown away
   */
  loadState(state: unknown): void {
    if (typeof state !== 'object' || state === null) throw new StateError('the saved machine is not an object');
    const states = new Map(Object.entries(state));
    const held: (() => void)[] = [];
    this.heldMessages = held;
    try {
      for (const component of this.components) {
        if (!states.has(component.name)) throw new StateError(`the saved machine has no state of ${component.name}`);
        component.loadState(states.get(component.name));
      }
    } finally {
      this.heldMessages = null;
    }
    for (const send of held) send();
  }

  /** Test programs give the I/O APIC's interrupts the requester ID of the device whose line it is: the demonstrator's. */
  private plugDemonstrator(): void {
    this.pci.plug(demonstratorPlace, new Edu('edu', this.clock));
    this.pci.plug(testPlace, new PciTestDevice());
    this.interrupts.ioApicRequester = demonstratorPlace;
  }

  /** All interrupts of devices go through the unit from now on. */
  private addRemapping(): VtdUnit {
    const { memory, physicalAddressBits, codeWritten, memoryRead } = this.config;
    const unit = new VtdUnit(
      { ...vtdDefaults, hostAddressBits: physicalAddressBits, cachingMode: this.config.cachingMode === true },
      { memory: new GuestMemory(memory, codeWritten, memoryRead), deliver: message => this.interrupts.deliver(message) },
    );
    unit.onFault = record => this.faultLog.add('guest', record);
    this.interrupts.remapper = unit;
    return unit;
  }

  private openEcam(window: { readonly base: number; readonly length: number } | null): void {
    this.closeEcam();
    this.closeEcam = window === null ? () => {} : this.memoryBus.map(window.base, window.length, 4, this.pci.enhanced);
  }

  /** What a function writes as an interrupt message; a driver may have given it any address. */
  private sendMessage(requester: number, address: number, data: number): void {
    if (this.heldMessages) return void this.heldMessages.push(() => this.sendMessage(requester, address, data));
    if (!isInterruptAddress(address)) return void this.dma.port(() => requester).write32(address, data);
    const send = (): void => void this.interrupts.writeMsi(address, data, requester);
    if (this.isolation) this.isolation.message(requester, send);
    else send();
  }

  private stop(exit: MachineExit): void {
    this.exit ??= exit;
  }

  /**
   * What firmware leaves behind, where none runs: the 8259A pair at its customary vectors, masked but for the timer, PCI interrupts
   * level-triggered, the 18.2 Hz tick, virtual wire mode.
   */
  private startFirmware(): void {
    if (this.config.firmware) return;
    const { pic, localApics } = this.interrupts;
    for (const [base, vectors, cascade, mask] of [[0, 0x08, 0x04, 0xfe], [2, 0x70, 0x02, 0xff]] as const) {
      pic.write(base, 1, 0x11);
      for (const word of [vectors, cascade, 0x01, mask]) pic.write(base + 1, 1, word);
    }
    // Interrupts 9 to 11: the SCI and PCI.
    pic.write(5, 1, 0x0e);
    this.pit.startFirmwareTick();
    this.hostBridge.startFirmware(ecamWindow.base);
    this.lpcBridge.startFirmware(pciLegacyIrqs);
    const windows = { port: pciPorts, memory: pciMemoryWindows(this.config.memory.length, ecamWindow) };
    assignAddresses(this.pci, windows, (slot, pin) => pciLegacyIrqs[(slot + pin - 1) & 3] ?? 0);
    localApics[0]?.enterVirtualWireMode();
    this.frameBuffer = this.display?.startFirmware() ?? null;
  }
}

/** The words of the BIOS data area that systems read: the ports of the UARTs, the extended area's segment, conventional memory in KB. */
function biosDataArea() {
  const data = new Uint8Array(0x100);
  const view = new DataView(data.buffer);
  comPorts.forEach(({ base }, index) => view.setUint16(index * 2, base, true));
  view.setUint16(0x0e, conventionalEnd >> 4, true);
  view.setUint16(0x13, conventionalEnd >> 10, true);
  return { address: 0x400, data };
}
