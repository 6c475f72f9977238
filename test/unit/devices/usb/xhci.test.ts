/** The xHCI controller against its specification, with a driver's rings and a device that the test plays. */
import { describe, expect, it } from 'vitest';
import { ScriptedDevice } from '../../../doubles/usbDevice.ts';
import { XhciDriver, dataAt, flag } from '../../../doubles/xhciDriver.ts';
import { code, trbType } from '../../../../core/devices/usb/xhci/trb.ts';
import type { Event } from '../../../doubles/xhciDriver.ts';

const state = { running: 1, halted: 2, stopped: 3, error: 4 } as const;
const bulkOut = 4;
const bulkIn = 5;

function transfers(events: readonly Event[]): Event[] {
  return events.filter(({ type }) => type === trbType.transferEvent);
}

/** A device behind port 1 with an address, and bulk endpoints in both directions. */
function bulk(): { readonly driver: XhciDriver; readonly device: ScriptedDevice; readonly slot: number } {
  const driver = new XhciDriver();
  const device = new ScriptedDevice();
  driver.controller.attach(device);
  driver.start();
  const slot = driver.address(1);
  expect(driver.configure(slot, [{ index: bulkOut, type: 2, maxPacket: 512 }, { index: bulkIn, type: 6, maxPacket: 512 }]).code).toBe(code.success);
  driver.writePort(1, 0x3e0000);
  driver.events();
  return { driver, device, slot };
}

describe('ports', () => {
  it('say what is plugged in, and that it was', () => {
    const driver = new XhciDriver();
    driver.start();
    expect(driver.port(1) & 1).toBe(0);
    const device = new ScriptedDevice();
    driver.controller.attach(device);
    // Connected, not enabled, the change noted, speed 3, polling.
    expect(driver.port(1) & 0x23de3).toBe(0x20000 | (3 << 10) | (7 << 5) | 1);
    expect(driver.events()).toMatchObject([{ type: trbType.portChange, pointer: 1 << 24 }]);
    driver.writePort(1, 0x20000);
    expect(driver.port(1) & 0x20000).toBe(0);
    driver.controller.detach(device);
    expect(driver.port(1) & 0x20001).toBe(0x20000);
    expect(driver.events()).toMatchObject([{ type: trbType.portChange }]);
  });

  it('of USB 2 are enabled by a reset, those of USB 3 by themselves', () => {
    const driver = new XhciDriver();
    driver.start();
    driver.controller.attach(new ScriptedDevice('low'));
    driver.controller.attach(new ScriptedDevice('super'));
    expect(driver.port(1) & 2).toBe(0);
    driver.writePort(1, 0x10);
    expect(driver.port(1) & 0x200002).toBe(0x200002);
    expect((driver.port(1) >>> 10) & 15).toBe(2);
    expect(driver.port(5) & 3).toBe(3);
    expect((driver.port(5) >>> 10) & 15).toBe(4);
  });

  it('are four of each kind: a fifth device finds no place', () => {
    const driver = new XhciDriver();
    expect(Array.from({ length: 5 }, () => driver.controller.attach(new ScriptedDevice('full')))).toEqual([true, true, true, true, false]);
    expect(driver.controller.attach(new ScriptedDevice('super'))).toBe(true);
  });

  it('suspend and resume', () => {
    const { driver } = bulk();
    driver.writePort(1, 0x10000 | (3 << 5));
    expect((driver.port(1) >>> 5) & 15).toBe(3);
    driver.writePort(1, 0x10000);
    expect((driver.port(1) >>> 5) & 15).toBe(0);
    expect(driver.port(1) & 0x400000).toBe(0x400000);
  });
});

describe('commands', () => {
  it('give and take slots; there is an end of them', () => {
    const driver = new XhciDriver();
    driver.start();
    const slots = Array.from({ length: 32 }, () => driver.command(trbType.enableSlot).slot);
    expect(slots).toEqual(Array.from({ length: 32 }, (_, index) => index + 1));
    expect(driver.command(trbType.enableSlot).code).toBe(code.noSlots);
    expect(driver.command(trbType.disableSlot, { slot: 7 }).code).toBe(code.success);
    expect(driver.command(trbType.disableSlot, { slot: 7 }).code).toBe(code.slotNotEnabled);
    expect(driver.command(trbType.enableSlot)).toMatchObject({ code: code.success, slot: 7 });
  });

  it('are refused in the wrong state, for what is not there, and when nobody knows them', () => {
    const { driver, slot } = bulk();
    expect(driver.command(trbType.resetEndpoint, { slot, endpoint: bulkIn }).code).toBe(code.contextState);
    expect(driver.command(trbType.setDequeue, { slot, endpoint: bulkIn, pointer: 0x1000 }).code).toBe(code.contextState);
    expect(driver.command(trbType.stopEndpoint, { slot, endpoint: 9 }).code).toBe(code.endpointNotEnabled);
    expect(driver.command(trbType.stopEndpoint, { slot: 9, endpoint: 1 }).code).toBe(code.slotNotEnabled);
    expect(driver.command(trbType.addressDevice, { slot, pointer: 0x4000 }).code).toBe(code.contextState);
    expect(driver.command(60).code).toBe(code.trb);
    expect(driver.command(trbType.commandNoOperation).code).toBe(code.success);
  });

  it('need a device behind the port to give an address', () => {
    const driver = new XhciDriver();
    driver.start();
    expect(() => driver.address(2)).toThrow(`${code.transaction}`);
  });

  it('a ring of commands that never ends leaves time for its guest', () => {
    const driver = new XhciDriver();
    driver.start();
    // A no-operation, and a link to it that does not toggle.
    driver.view.setUint32(driver.commands.base + 12, (trbType.commandNoOperation << 10) | 1, true);
    driver.view.setUint32(driver.commands.base + 16, driver.commands.base, true);
    driver.view.setUint32(driver.commands.base + 28, (trbType.link << 10) | 1, true);
    driver.write(0x2000, 0);
    expect(driver.events().length).toBeGreaterThan(10);
    // A link to itself is no ring at all.
    driver.view.setUint32(driver.commands.base, driver.commands.base, true);
    driver.view.setUint32(driver.commands.base + 12, (trbType.link << 10) | 1, true);
    driver.write(0x2000, 0);
    for (let count = 0; count < 10; count++) {
      driver.events();
      driver.pass(1_000_000);
    }
    expect(driver.read(0x44) & 4).toBe(4);
  });
});

describe('control transfers', () => {
  it('bring a device its setup stage and the guest its data, with the short length', () => {
    const { driver, device, slot } = bulk();
    const [, data] = driver.control(slot, [0x80, 6, 0, 1, 0, 0, 64, 0], 64);
    expect(device.waiting[0]).toMatchObject({ endpoint: 0, kind: 'control', setup: Uint8Array.of(0x80, 6, 0, 1, 0, 0, 64, 0), length: 64 });
    device.answer('completed', Uint8Array.of(18, 1, 2, 3));
    expect([...driver.ram.subarray(dataAt, dataAt + 5)]).toEqual([18, 1, 2, 3, 0]);
    expect(transfers(driver.events())).toMatchObject([{ pointer: data, code: code.shortPacket, length: 60 }, { code: code.success, endpoint: 1, slot }]);
  });

  it('carry data to the device', () => {
    const { driver, device, slot } = bulk();
    driver.ram.set([9, 8, 7], dataAt);
    driver.control(slot, [0x21, 9, 0, 2, 0, 0, 3, 0], 3);
    expect([...device.waiting[0]?.data ?? []]).toEqual([9, 8, 7]);
    device.answer('completed');
    expect(transfers(driver.events())).toMatchObject([{ code: code.success, length: 0 }]);
  });

  it('stall: the endpoint halts, and runs again after its reset', () => {
    const { driver, device, slot } = bulk();
    device.script = () => ['stall', new Uint8Array(0)];
    driver.control(slot, [0x80, 6, 0, 99, 0, 0, 8, 0], 8);
    expect(transfers(driver.events())).toMatchObject([{ code: code.stall }]);
    expect(driver.endpoint(slot, 1).state).toBe(state.halted);
    const [next] = driver.control(slot, [0x80, 8, 0, 0, 0, 0, 1, 0], 1);
    expect(transfers(driver.events())).toEqual([]);
    expect(driver.command(trbType.resetEndpoint, { slot, endpoint: 1 }).code).toBe(code.success);
    expect(driver.endpoint(slot, 1).state).toBe(state.stopped);
    expect(driver.command(trbType.setDequeue, { slot, endpoint: 1, pointer: next! | 1 }).code).toBe(code.success);
    device.script = () => ['completed', Uint8Array.of(1)];
    driver.ring(slot, 1);
    expect(transfers(driver.events())).toMatchObject([{ code: code.success }]);
  });
});

describe('bulk transfers', () => {
  it('gather scattered blocks of one descriptor', () => {
    const { driver, device, slot } = bulk();
    driver.ram.set([1, 2, 3], dataAt);
    driver.ram.set([4, 5], dataAt + 0x100);
    driver.queue(slot, bulkOut, [
      { type: trbType.normal, pointer: dataAt, length: 3, flags: flag.chain }, { type: trbType.normal, pointer: dataAt + 0x100, length: 2, flags: flag.chain },
      { type: trbType.normal, pointer: Uint8Array.of(6, 7, 0, 0, 0, 0, 0, 0), length: 2, flags: flag.immediate | flag.interrupt },
    ]);
    expect([...device.waiting[0]?.data ?? []]).toEqual([1, 2, 3, 4, 5, 6, 7]);
    device.answer('completed');
    expect(transfers(driver.events())).toMatchObject([{ code: code.success, endpoint: bulkOut }]);
  });

  it('are cut into pieces of whole packets, and none is lost', () => {
    const { driver, device, slot } = bulk();
    const sent: number[] = [];
    device.script = ({ length }) => {
      sent.push(length);
      return ['completed', new Uint8Array(length).fill(sent.length)];
    };
    driver.queue(slot, bulkIn, [{ type: trbType.normal, pointer: dataAt, length: 65536, flags: flag.chain }, { type: trbType.normal, pointer: dataAt + 65536, length: 1000, flags: flag.interrupt }]);
    expect(sent).toEqual([32768, 32768, 1000]);
    expect([driver.ram[dataAt], driver.ram[dataAt + 32768], driver.ram[dataAt + 65536], driver.ram[dataAt + 66536]]).toEqual([1, 2, 3, 0]);
    expect(transfers(driver.events())).toMatchObject([{ code: code.success, length: 0 }]);
  });

  it('end at a short packet, with an event where it happened and one where the count is asked for', () => {
    const { driver, device, slot } = bulk();
    device.script = () => ['completed', new Uint8Array(700)];
    const [first, second] = driver.queue(slot, bulkIn, [
      { type: trbType.normal, pointer: dataAt, length: 512, flags: flag.chain | flag.short }, { type: trbType.normal, pointer: dataAt + 512, length: 512, flags: flag.chain | flag.short },
      { type: trbType.normal, pointer: dataAt + 1024, length: 512, flags: flag.chain | flag.short }, { type: trbType.eventData, pointer: 0x1234, flags: flag.interrupt },
    ]);
    expect(first).toBeDefined();
    expect(transfers(driver.events())).toMatchObject([{ pointer: second, code: code.shortPacket, length: 512 - 188 }, { pointer: 0x1234, code: code.shortPacket, length: 700 }]);
  });

  it('wait for a device that has nothing, and can be stopped then', () => {
    const { driver, device, slot } = bulk();
    const [place] = driver.queue(slot, bulkIn, [{ type: trbType.normal, pointer: dataAt, length: 512, flags: flag.interrupt }]);
    expect(device.waiting).toHaveLength(1);
    expect(driver.command(trbType.stopEndpoint, { slot, endpoint: bulkIn }).code).toBe(code.success);
    expect(transfers(driver.unread)).toMatchObject([{ pointer: place, code: code.stopped, length: 512 }]);
    expect(device.cancelled).toEqual([0x82]);
    expect(driver.endpoint(slot, bulkIn)).toEqual({ state: state.stopped, dequeue: place! | 1 });
    // The doorbell lets it go on where it was.
    driver.ring(slot, bulkIn);
    device.answer('completed', new Uint8Array(512));
    expect(transfers(driver.events())).toMatchObject([{ pointer: place, code: code.success }]);
  });

  it('fail when the device is unplugged in the middle of one', () => {
    const { driver, device, slot } = bulk();
    driver.queue(slot, bulkIn, [{ type: trbType.normal, pointer: dataAt, length: 512, flags: flag.interrupt }]);
    driver.controller.detach(device);
    const events = driver.events();
    expect(transfers(events)).toMatchObject([{ code: code.transaction, endpoint: bulkIn }]);
    expect(events.some(({ type }) => type === trbType.portChange)).toBe(true);
    expect(driver.endpoint(slot, bulkIn).state).toBe(state.halted);
    expect(driver.command(trbType.disableSlot, { slot }).code).toBe(code.success);
  });

  it('fail, and nothing else does, when memory is out of reach', () => {
    const { driver, device, slot } = bulk();
    device.script = ({ length }) => ['completed', new Uint8Array(length)];
    driver.queue(slot, bulkIn, [{ type: trbType.normal, pointer: 2 ** 40, length: 512, flags: flag.interrupt }]);
    expect(transfers(driver.events())).toMatchObject([{ code: code.dataBuffer }]);
    expect(driver.command(trbType.commandNoOperation).code).toBe(code.success);
  });

  it('that make no sense are an error of their ring', () => {
    const { driver, slot } = bulk();
    driver.queue(slot, bulkIn, [{ type: trbType.setup, length: 8, flags: flag.interrupt }]);
    expect(transfers(driver.events())).toMatchObject([{ code: code.trb }]);
    expect(driver.endpoint(slot, bulkIn).state).toBe(state.error);
  });
});

describe('isochronous transfers', () => {
  it('go one in each interval, and an empty ring is told of once', () => {
    const { driver, device, slot } = bulk();
    expect(driver.configure(slot, [{ index: 7, type: 5, maxPacket: 192, interval: 3 }]).code).toBe(code.success);
    const sent: number[] = [];
    device.script = ({ length }) => {
      sent.push(length);
      return ['completed', new Uint8Array(180)];
    };
    const block = { type: trbType.isochronous, pointer: dataAt, length: 192, flags: flag.interrupt | flag.short };
    driver.queue(slot, 7, [block, block, block]);
    expect(sent).toEqual([]);
    driver.pass(1_000_000);
    expect(sent).toEqual([192]);
    driver.pass(1_000_000);
    driver.pass(1_000_000);
    expect(transfers(driver.events())).toMatchObject([{ code: code.shortPacket, length: 12 }, { code: code.shortPacket }, { code: code.shortPacket }]);
    driver.pass(5_000_000);
    expect(transfers(driver.events())).toMatchObject([{ code: code.overrun, endpoint: 7 }]);
  });

  it('that fail do not halt their endpoint', () => {
    const { driver, device, slot } = bulk();
    driver.configure(slot, [{ index: 7, type: 5, maxPacket: 192, interval: 3 }]);
    let answered = 0;
    device.script = () => (++answered === 1 ? ['error', new Uint8Array(0)] : ['completed', new Uint8Array(192)]);
    const block = { type: trbType.isochronous, pointer: dataAt, length: 192, flags: flag.interrupt };
    driver.queue(slot, 7, [block, block]);
    driver.pass(1_000_000);
    driver.pass(1_000_000);
    expect(transfers(driver.events())).toMatchObject([{ code: code.transaction }, { code: code.success }]);
  });
});

describe('events', () => {
  it('wait when their ring is full, and none is lost', () => {
    const { driver, device, slot } = bulk();
    device.script = () => ['completed', new Uint8Array(8)];
    driver.unread.length = 0;
    // More than the ring holds, taken by nobody.
    for (let count = 0; count < 100; count++) driver.queue(slot, bulkIn, count % 7 === 6 ? [] : [{ type: trbType.normal, pointer: dataAt, length: 8, flags: flag.interrupt }]);
    const seen = [...driver.events(), ...driver.events(), ...driver.events()];
    expect(seen.some(({ type, code: what }) => type === trbType.hostController && what === code.eventRingFull)).toBe(true);
  });

  it('raise an interrupt by message, no more often than the interval allows', () => {
    const { driver, device, slot } = bulk();
    device.script = () => ['completed', new Uint8Array(8)];
    for (let vector = 0; vector < 2; vector++) driver.write(0x3000 + vector * 16 + 12, 0);
    driver.controller.writeConfig(0x42, 2, 0x8000);
    driver.events();
    driver.pass(10_000_000);
    driver.events();
    driver.plug.messages.length = 0;
    driver.write(0x1024, 4000);
    const block = { type: trbType.normal, pointer: dataAt, length: 8, flags: flag.interrupt };
    driver.queue(slot, bulkIn, [block]);
    driver.events();
    driver.queue(slot, bulkIn, [block]);
    expect(driver.plug.messages).toHaveLength(1);
    driver.pass(1_000_000);
    expect(driver.plug.messages).toHaveLength(2);
  });
});

describe('state', () => {
  it('holds a transfer that is under way: it begins anew after a restore', () => {
    const { driver, device, slot } = bulk();
    driver.queue(slot, bulkIn, [{ type: trbType.normal, pointer: dataAt, length: 512, flags: flag.interrupt }]);
    const saved = JSON.parse(JSON.stringify(driver.controller.saveState())) as unknown;
    device.answer('completed', new Uint8Array(512).fill(1));
    driver.controller.loadState(saved);
    driver.clock.runDue();
    expect(device.waiting).toMatchObject([{ endpoint: 0x82, length: 512 }]);
  });

  it('a reset forgets slots and finds the devices anew', () => {
    const { driver, slot } = bulk();
    driver.write(0x40, 2);
    expect(driver.read(0x44) & 1).toBe(1);
    expect(driver.port(1) & 0x20001).toBe(0x20001);
    driver.start();
    expect(driver.read(0x44) & 1).toBe(0);
    driver.ring(slot, bulkIn);
    expect(driver.address(1)).toBe(1);
  });
});
