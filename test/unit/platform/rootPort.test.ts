import { beforeEach, describe, expect, it } from 'vitest';
import { MemoryBus } from '../../../core/platform/bus.ts';
import { PciFunction } from '../../../core/platform/pci/function.ts';
import { PciHost, deviceFunction } from '../../../core/platform/pci/host.ts';
import { RootPort } from '../../../core/platform/pci/rootPort.ts';
import { assignAddresses } from '../../../core/platform/pci/assign.ts';
import { capabilityId } from '../../../core/platform/pci/capabilities.ts';
import { Wire } from '../../doubles/wire.ts';
import type { Registers } from '../../../core/platform/device.ts';

const registers: Registers = { name: 'card', read: offset => offset, write() {} };

class Card extends PciFunction {
  constructor() {
    super('card', { vendor: 0x1234, device: 0x5678, classCode: 0xff0000, revision: 1, interruptPin: 1 }, { bars: [{ space: 'memory', size: 0x1000, registers }] });
  }
}

const place = deviceFunction(28, 1);
const slotControl = 0x18;
const slotStatus = 0x1a;
const everyEvent = 0x1029;
const powerOff = 0x0400;

describe('root port', () => {
  let host: PciHost;
  let port: RootPort;
  let card: Card;
  let memory: MemoryBus;
  let wire: Wire;
  let requesters: number[];
  let messages: number[];
  let released: PciFunction[];

  function express(register: number): number {
    return port.capabilityOffset(capabilityId.express) + register;
  }

  function status(): number {
    return port.readConfig(express(slotStatus), 2);
  }

  function assign(): void {
    assignAddresses(host, { port: { base: 0xc000, end: 0x10000 }, memory: [{ base: 0x80000000, end: 0xa0000000 }] }, () => 10);
  }

  beforeEach(() => {
    memory = new MemoryBus();
    wire = new Wire();
    requesters = [];
    messages = [];
    released = [];
    host = new PciHost({ powerOff() {}, reset() {}, debugExit() {} }, {
      dma: requester => ({
        read: () => requesters.push(requester()) > 0, write: () => false, read16: () => null, read32: () => null, write16: () => false, write32: () => false, views: () => null,
      }),
      line: () => wire,
      message: (_requester, _address, data) => messages.push(data),
      map: (space, ...range) => (space === 'memory' ? memory.map(...range) : () => {}),
    });
    card = new Card();
    port = new RootPort({ slot: 2, place, wiring: host.wiring, onRelease: out => released.push(out) });
    host.plug(place, port);
  });

  it('is a bridge with a hot-plug slot of its number', () => {
    expect(port.readConfig(0x0a, 2)).toBe(0x0604);
    expect(port.readConfig(0x0e, 1)).toBe(0x81);
    expect(port.readConfig(express(0x14), 4) >>> 19).toBe(2);
    expect(status() & 0x40, 'nothing is present').toBe(0);
  });

  it('leads to its card once buses are numbered, and only through open windows', () => {
    port.insert(card);
    expect(host.enhanced.read(1 << 20, 4)).toBe(0xffffffff);
    assign();
    expect(host.enhanced.read(1 << 20, 4)).toBe(0x56781234);
    expect(host.enhanced.read((1 << 20) | (1 << 15), 4), 'a link has one device').toBe(0xffffffff);
    const bar = card.barAddress(0) ?? 0;
    expect(memory.read(bar + 8, 4)).toBe(8);
    const window = port.readConfig(0x20, 4);
    port.writeConfig(0x20, 4, 0x0000fff0);
    expect(memory.read(bar + 8, 4), 'the window is closed').toBe(0xffffffff);
    port.writeConfig(0x20, 4, window);
    expect(memory.read(bar + 8, 4)).toBe(8);
    port.writeConfig(4, 2, 0);
    expect(memory.read(bar + 8, 4), 'the bridge decodes no memory').toBe(0xffffffff);
  });

  it('gives its card requester IDs of the bus behind it', () => {
    port.insert(card);
    assign();
    card.writeConfig(4, 2, 6);
    card.dma.read(0, new Uint8Array(1));
    port.writeConfig(0x18, 4, 0x050500);
    card.dma.read(0, new Uint8Array(1));
    expect(requesters).toEqual([0x100, 0x500]);
  });

  it('tells of a card that comes, by one message', () => {
    assign();
    port.writeConfig(express(slotControl), 2, everyEvent);
    port.writeConfig(0x44, 4, 0xfee00000);
    port.writeConfig(0x4c, 2, 0x31);
    port.writeConfig(0x42, 2, 1);
    port.writeConfig(4, 2, 7);
    port.insert(card);
    expect(messages).toEqual([0x31]);
    expect(status(), 'present, changed, link changed').toBe(0x148);
    port.writeConfig(express(slotStatus), 2, 0x148);
    expect(status()).toBe(0x40);
    port.remove();
    expect(messages).toEqual([0x31, 0x31]);
    expect(status()).toBe(0x108);
  });

  it('interrupts by its line while messages are off', () => {
    port.writeConfig(express(slotControl), 2, everyEvent);
    port.insert(card);
    expect(wire.level).toBe(true);
    port.writeConfig(express(slotStatus), 2, 0x1ff);
    expect(wire.level).toBe(false);
  });

  it('a card without power does not answer; one that gets power is as after power-on', () => {
    port.insert(card);
    assign();
    port.writeConfig(express(slotControl), 2, powerOff);
    expect(host.enhanced.read(1 << 20, 4)).toBe(0xffffffff);
    expect(port.readConfig(express(0x12), 2) & 0x2000, 'the link is down').toBe(0);
    port.writeConfig(express(slotControl), 2, 0);
    expect(host.enhanced.read(1 << 20, 4)).toBe(0x56781234);
    expect(card.readConfig(4, 2)).toBe(0);
    expect(host.list().map(({ fn }) => fn.name)).toEqual(['root-port-2', 'card']);
  });

  it('where power is off, a card that comes presses the attention button', () => {
    port.writeConfig(express(slotControl), 2, powerOff);
    port.insert(card);
    expect(status() & 9).toBe(9);
  });

  it('lets a card go when the guest takes its power after the button, and only then', () => {
    port.insert(card);
    port.writeConfig(express(slotControl), 2, powerOff);
    port.writeConfig(express(slotControl), 2, 0);
    expect(port.cards).toEqual([card]);
    port.release();
    expect([status() & 1, port.cards.length]).toEqual([1, 1]);
    port.writeConfig(express(slotControl), 2, powerOff);
    expect([released, port.cards]).toEqual([[card], []]);
  });

  it('without power it lets a card go at once', () => {
    port.insert(card);
    port.writeConfig(express(slotControl), 2, powerOff);
    port.release();
    expect(released).toEqual([card]);
  });

  it('holds one card', () => {
    port.insert(card);
    expect(() => port.insert(new Card())).toThrow('slot 2 holds card');
  });

  it('a secondary bus reset resets the card', () => {
    port.insert(card);
    assign();
    expect(card.readConfig(4, 2)).toBe(2);
    port.writeConfig(0x3e, 2, 0x40);
    expect(card.readConfig(4, 2)).toBe(0);
  });

  it('a restored port is as the saved one, with its card behind it, and sends nothing', () => {
    port.insert(card);
    assign();
    port.writeConfig(express(slotControl), 2, powerOff);
    const [portState, cardState] = [port.saveState(), card.saveState()];
    port.writeConfig(express(slotControl), 2, everyEvent);
    port.loadState(portState);
    card.loadState(cardState);
    expect([port.saveState(), host.enhanced.read(1 << 20, 4), messages]).toEqual([portState, 0xffffffff, []]);
  });

  it('a reset machine finds the card where it is, without news', () => {
    port.insert(card);
    port.reset();
    expect(status()).toBe(0x40);
  });
});
