import { beforeEach, describe, expect, it } from 'vitest';
import { DmaMemory } from '../../../core/platform/dma.ts';
import { HostBridge, LpcBridge, PciHost, deviceFunction } from '../../../core/platform/pci/host.ts';
import { MemoryBus } from '../../../core/platform/bus.ts';
import { Msi, MsiX } from '../../../core/platform/pci/messages.ts';
import { PciFunction } from '../../../core/platform/pci/function.ts';
import { Wire } from '../../doubles/wire.ts';
import { assignAddresses } from '../../../core/platform/pci/assign.ts';
import { powerManagement } from '../../../core/platform/pci/capabilities.ts';
import type { DmaRefusal } from '../../../core/platform/dma.ts';
import type { Registers } from '../../../core/platform/device.ts';

describe('PCI', () => {
  class Card extends PciFunction {
    constructor() {
      super('card', { vendor: 0x1234, device: 0x5678, classCode: 0xff0000, revision: 1, interruptPin: 1 }, {
        bars: [{ space: 'memory', size: 0x1000, registers }, { space: 'port', size: 0x20, onMove: address => moves.push(address) }, { space: 'memory', size: 0x100, wide: true, registers: msix }, null],
        msi: new Msi(4), msix, capabilities: [powerManagement],
      });
    }
  }

  const registers: Registers = { name: 'card', read: offset => offset, write() {} };
  let host: PciHost;
  let card: Card;
  let msix: MsiX;
  let line: Wire;
  let memory: MemoryBus;
  let moves: (number | null)[];
  let messages: [requester: number, address: number, data: number][];

  function address(device: number, register: number): void {
    host.write(0, 4, (0x80000000 | (device << 11) | register) >>> 0);
  }

  function config(device: number, register: number): number {
    address(device, register);
    return host.read(4, 4);
  }

  function setConfig(device: number, register: number, value: number): void {
    address(device, register);
    host.write(4, 4, value);
  }

  beforeEach(() => {
    line = new Wire();
    memory = new MemoryBus();
    moves = [];
    messages = [];
    msix = new MsiX(4, 2);
    host = new PciHost({ powerOff() {}, reset() {}, debugExit() {} }, {
      dma: requester => new DmaMemory(new Uint8Array(0x1000)).port(requester),
      line: () => line,
      message: (...message) => messages.push(message),
      map: (space, ...range) => (space === 'memory' ? memory.map(...range) : () => {}),
    });
    card = new Card();
    host.plug(deviceFunction(0, 0), new HostBridge());
    host.plug(deviceFunction(31, 0), new LpcBridge());
    host.plug(deviceFunction(3, 0), card);
  });

  it('finds what is there, and all ones elsewhere', () => {
    expect(config(0, 0)).toBe(0x29c08086);
    expect(config(31, 0)).toBe(0x29188086);
    expect(config(5, 0)).toBe(0xffffffff);
    host.write(0, 4, 0x80010000);
    expect(host.read(4, 4), 'there is no bus 1').toBe(0xffffffff);
  });

  it('reads parts of registers', () => {
    address(3, 0);
    expect([host.read(4, 2), host.read(6, 2), host.read(5, 1)]).toEqual([0x1234, 0x5678, 0x12]);
  });

  it('base address registers tell their size and decode when enabled', () => {
    setConfig(3, 0x10, 0xffffffff);
    expect(config(3, 0x10)).toBe(0xfffff000);
    setConfig(3, 0x14, 0xffffffff);
    expect(config(3, 0x14)).toBe(0xffffffe1);
    setConfig(3, 0x10, 0xc0001000);
    expect(card.barAddress(0)).toBeNull();
    setConfig(3, 4, 0x0002);
    expect(card.barAddress(0)).toBe(0xc0001000);
  });

  it('tells the function where a base address register has moved to', () => {
    setConfig(3, 0x14, 0xc000);
    setConfig(3, 4, 1);
    setConfig(3, 0x3c, 11);
    setConfig(3, 4, 0);
    expect(moves).toEqual([0xc000, null]);
  });

  it('registers answer where their base address register says, 64-bit ones above 4 GiB', () => {
    setConfig(3, 0x10, 0xc0001000);
    setConfig(3, 0x18, 0x100);
    setConfig(3, 0x1c, 0x12);
    expect(memory.read(0xc0001008, 4)).toBe(0xffffffff);
    setConfig(3, 4, 2);
    expect(memory.read(0xc0001008, 4)).toBe(8);
    expect(memory.read(0x12_0000_010c, 4), 'a vector is masked at power-on').toBe(1);
    setConfig(3, 0x10, 0xc0002000);
    expect([memory.read(0xc0001008, 4), memory.read(0xc0002008, 4)]).toEqual([0xffffffff, 8]);
  });

  it('two cards at one address: the first to come answers, and nothing throws', () => {
    const other = new PciFunction('other', { vendor: 1, device: 2, classCode: 0, revision: 0 }, { bars: [{ space: 'memory', size: 0x1000, registers: { ...registers, read: () => 99 } }] });
    host.plug(deviceFunction(4, 0), other);
    for (const slot of [3, 4]) {
      setConfig(slot, 0x10, 0xc0001000);
      setConfig(slot, 4, 2);
    }
    expect(memory.read(0xc0001004, 4)).toBe(4);
    setConfig(3, 4, 0);
    expect(memory.read(0xc0001004, 4)).toBe(99);
  });

  it('capabilities form a list', () => {
    const ids: number[] = [];
    for (let at = config(3, 0x34) & 0xff; at !== 0; at = (config(3, at & 0xfc) >>> 8) & 0xff) ids.push(config(3, at) & 0xff);
    expect(ids).toEqual([0x11, 0x05, 0x01]);
  });

  it('enhanced configuration space reaches the same registers', () => {
    expect(host.enhanced.read(3 << 15, 4)).toBe(0x56781234);
    host.enhanced.write((3 << 15) | 4, 2, 6);
    expect(config(3, 4) & 0xffff).toBe(6);
    expect(host.enhanced.read((3 << 15) | 0x100, 4), 'no extended capabilities').toBe(0);
    expect(host.enhanced.read((1 << 20) | (3 << 15), 4), 'there is no bus 1').toBe(0xffffffff);
  });

  it('the line follows the interrupt, the disable bit and the choice of messages', () => {
    card.setInterrupt(true);
    expect([line.level, config(3, 4) >>> 16 & 8]).toEqual([true, 8]);
    setConfig(3, 4, 0x400);
    expect(line.level).toBe(false);
    setConfig(3, 4, 0);
    expect(line.level).toBe(true);
    setConfig(3, 0x40, 0x8000_0000);
    expect(line.level, 'MSI-X is enabled').toBe(false);
    setConfig(3, 0x40, 0);
    card.setInterrupt(false);
    expect(line.level).toBe(false);
  });

  it('MSI-X sends what the table says; masked vectors wait', () => {
    setConfig(3, 4, 6);
    setConfig(3, 0x40, 0x8000_0000);
    msix.write(0x10, 4, 0xfee01000);
    msix.write(0x18, 4, 0x41);
    card.signal(1);
    expect(messages).toEqual([]);
    expect(msix.read(0x40, 4), 'pending').toBe(2);
    msix.write(0x1c, 4, 0);
    expect(messages).toEqual([[0x18, 0xfee01000, 0x41]]);
    expect(msix.read(0x40, 4)).toBe(0);
    card.signal(17);
    expect(messages.length).toBe(1);
  });

  it('MSI varies the low bits of its data by the vectors that are enabled; a function that is no bus master is silent', () => {
    const at = 0x4c;
    setConfig(3, at + 4, 0xfee02000);
    setConfig(3, at + 12, 0x43);
    setConfig(3, at, 0x0021_0000);
    card.signal(3);
    expect(messages).toEqual([]);
    setConfig(3, 4, 4);
    card.signal(3);
    card.signal(4);
    expect(messages).toEqual([[0x18, 0xfee02000, 0x43], [0x18, 0xfee02000, 0x40]]);
    setConfig(3, at + 16, 2);
    card.signal(1);
    expect([messages.length, config(3, at + 20)]).toEqual([2, 2]);
    setConfig(3, at + 16, 0);
    expect(messages.at(-1)).toEqual([0x18, 0xfee02000, 0x41]);
  });

  it('firmware gives every base address register a place of its own, and an interrupt line', () => {
    assignAddresses(host, { port: { base: 0xc000, end: 0x10000 }, memory: [{ base: 0xc0000000, end: 0xc0001000 }, { base: 0xf0000000, end: 0xf0002000 }] }, () => 11);
    expect([card.barAddress(0), card.barAddress(1), card.barAddress(2), config(3, 0x3c) & 0xff]).toEqual([0xc0000000, 0xc000, 0xf0000000, 11]);
  });

  it('read-only registers stay', () => {
    setConfig(3, 0, 0);
    setConfig(3, 8, 0);
    expect([config(3, 0), config(3, 8)]).toEqual([0x56781234, 0xff000001]);
  });

  it('a place holds one function', () => {
    expect(() => host.plug(deviceFunction(3, 0), new Card())).toThrow(/device 3 function 0 is taken/);
  });

  it('a saved configuration of another card is refused', () => {
    const saved = new HostBridge().saveState();
    expect(() => card.loadState(saved)).toThrow(/card\.config\[0\]/);
  });
});

describe('memory controller hub', () => {
  it('opens the enhanced configuration window where PCIEXBAR says', () => {
    const windows: unknown[] = [];
    const bridge = new HostBridge({ ecam: window => windows.push(window), shadow() {} });
    bridge.writeConfig(0x60, 4, 0xb0000001);
    bridge.writeConfig(0x60, 4, 0xe0000003);
    bridge.writeConfig(0x60, 4, 0);
    expect(windows).toEqual([{ base: 0xb0000000, length: 256 << 20 }, { base: 0xe0000000, length: 128 << 20 }, null]);
  });

  it('switches shadow segments by the PAM registers', () => {
    const segments: unknown[] = [];
    const bridge = new HostBridge({ ecam() {}, shadow: (...segment) => segments.push(segment) });
    bridge.reset();
    expect(segments.length).toBe(13);
    segments.length = 0;
    bridge.writeConfig(0x90, 1, 0x30);
    bridge.writeConfig(0x92, 1, 0x21);
    expect(segments).toEqual([[0xf0000, 0x10000, true, true], [0xc8000, 0x4000, true, false], [0xcc000, 0x4000, false, true]]);
  });
});

describe('DMA', () => {
  const ram = new Uint8Array(1 << 20);
  let refusals: DmaRefusal[];
  let written: [number, number][];
  let memory: DmaMemory;

  beforeEach(() => {
    ram.fill(0);
    refusals = [];
    written = [];
    memory = new DmaMemory(ram, (address, size) => written.push([address, size]));
    memory.onRefusal = refusal => refusals.push(refusal);
  });

  it('reads and writes RAM, and tells the processor of each page it changes', () => {
    const port = memory.port(() => 0x18);
    expect(port.write(0xffe, Uint8Array.of(1, 2, 3, 4))).toBe(true);
    expect(port.read32(0xffe)).toBe(0x04030201);
    expect(written).toEqual([[0xffe, 2], [0x1000, 2]]);
  });

  it('refuses what is no RAM, with the requester and the address, and never throws', () => {
    const port = memory.port(() => 0x18);
    const into = new Uint8Array(4).fill(7);
    for (const address of [0xa0000, 1 << 20, 2 ** 40, 2 ** 53]) {
      expect(port.read(address, into), String(address)).toBe(false);
      expect(port.write32(address, 1)).toBe(false);
      expect(refusals.at(-1)).toEqual({ requester: 0x18, address, write: true, reason: 'no-memory' });
    }
    expect([...into]).toEqual([255, 255, 255, 255]);
    expect(written).toEqual([]);
  });

  it('goes where the remapping unit sends it, page by page', () => {
    memory.remapper = { translate: ({ page }) => (page === 0x100000 ? { page: 5 } : page === 0x100001 ? { page: 2 } : null) };
    const port = memory.port(() => 0x18);
    expect(port.write(0x1_0000_0ffe, Uint8Array.of(1, 2, 3, 4))).toBe(true);
    expect([...ram.subarray(0x5ffe, 0x6000), ...ram.subarray(0x2000, 0x2002)]).toEqual([1, 2, 3, 4]);
    expect(port.read32(0)).toBeNull();
    expect(refusals[0]?.reason).toBe('blocked');
  });
});
