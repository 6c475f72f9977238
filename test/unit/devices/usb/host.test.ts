/** A USB device of the host behind a host controller: both threads' ends, with a stand-in at the boundary of the `usb` package. */
import { mkdtempSync, rmSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FrameLink, createFrameBuffer } from '../../../../core/net/frameLink.ts';
import { RemotePort } from '../../../../core/devices/usb/remote.ts';
import { UsbServer } from '../../../../core/passthrough/usb/server.ts';
import { usb } from '../../../doubles/usbLibrary.ts';
import { XhciDriver, dataAt, flag } from '../../../doubles/xhciDriver.ts';
import { code, trbType } from '../../../../core/devices/usb/xhci/trb.ts';
import { usbIdentity, usbProblem, usbResources } from '../../../../core/passthrough/usb/host.ts';
import { decodeMessage, encodeMessage } from '../../../../core/devices/usb/link.ts';
import type { HostResult } from '../../../../core/passthrough/usb/host.ts';
import type { StandInDevice } from '../../../doubles/usbLibrary.ts';
import type { Event } from '../../../doubles/xhciDriver.ts';

const identity = 'usb:46f4:0001:stick-1';
const superPort = 5;
let folder = '';
let file = '';
let driver: XhciDriver;
let port: RemotePort;
let server: UsbServer;

beforeEach(() => {
  process.env['VANDERPOOL_USB'] = join(import.meta.dirname, '../../../doubles/usbLibrary.ts');
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-usb-'));
  file = join(folder, 'stick');
  process.env['VANDERPOOL_USB_FILE'] = file;
  writeFileSync(file, Buffer.alloc(1 << 16, 0x5a));
  const link = new FrameLink(createFrameBuffer());
  driver = new XhciDriver();
  driver.start();
  port = new RemotePort(driver.controller, link);
  server = new UsbServer(link, identity, () => undefined, () => undefined);
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
  // The next test's device is another one.
  await usb.getDevices();
});

async function standIn(): Promise<StandInDevice> {
  return (await usb.getDevices())[0] as StandInDevice;
}

/** Waits until the port says so. */
async function untilConnected(connected: boolean): Promise<void> {
  await expect.poll(() => {
    port.poll();
    return (driver.port(superPort) & 1) === 1;
  }, { timeout: 5000 }).toBe(connected);
}

/** Events of transfers, as soon as there are so many. */
async function transfers(count: number): Promise<Event[]> {
  const found: Event[] = [];
  await expect.poll(() => {
    port.poll();
    found.push(...driver.events().filter(({ type }) => type === trbType.transferEvent));
    return found.length;
  }).toBeGreaterThanOrEqual(count);
  return found;
}

it('messages arrive as they were sent, and what is none is nothing', () => {
  const submit = { operation: 'submit', id: 70000, endpoint: 0x81, kind: 'bulk', setup: null, length: 512, data: Uint8Array.of(1, 2, 3) } as const;
  const control = { ...submit, kind: 'control', endpoint: 0, setup: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) } as const;
  for (const message of [submit, control, { operation: 'cancel', endpoint: 3 }, { operation: 'done', id: 9, status: 'stall', data: Uint8Array.of(4) }, { operation: 'arrived', speed: 'high' }, { operation: 'gone' }] as const) {
    expect(decodeMessage(encodeMessage(message))).toEqual(message);
  }
  expect(decodeMessage(new Uint8Array(3))).toBeNull();
  expect(decodeMessage(new Uint8Array(24).fill(0xff))).toBeNull();
});

describe('a device of the host', () => {
  it('is known by vendor, product and serial number, and without the last by its port', async () => {
    const device = await standIn();
    expect(usbIdentity(device)).toBe(identity);
    expect(usbIdentity({ vendorId: 0x46f4, productId: 1, bus: '2', ports: [3, 1], serialNumber: null })).toBe('usb:46f4:0001:@2-3.1');
    expect(await usbResources()).toMatchObject([{ id: identity, kind: 'usb', name: 'Vanderpool Stick', vendor: '46f4', product: '0001', serial: 'stick-1' }]);
  });

  it('is taken from the host, reset, enumerated, and carries control and bulk transfers', async () => {
    await untilConnected(true);
    const { calls } = await standIn();
    expect(calls).toEqual(['open', 'claim 0', 'reset']);
    const slot = driver.address(superPort);
    driver.control(slot, [0x80, 6, 0, 1, 0, 0, 18, 0], 18);
    await transfers(1);
    expect([...driver.ram.subarray(dataAt, dataAt + 12)]).toEqual([18, 1, 0, 3, 0, 0, 0, 9, 0xf4, 0x46, 1, 0]);
    driver.control(slot, [0, 9, 1, 0, 0, 0, 0, 0], 0);
    await transfers(1);
    expect(calls).toContain('configuration 1');
    expect(driver.configure(slot, [{ index: 3, type: 6, maxPacket: 1024 }, { index: 4, type: 2, maxPacket: 1024 }]).code).toBe(code.success);
    // READ(10) of one sector.
    const wrapper = Uint8Array.of(0x55, 0x53, 0x42, 0x43, 7, 0, 0, 0, 0, 2, 0, 0, 0x80, 0, 10, 0x28, 0, 0, 0, 0, 1, 0, 0, 1);
    driver.ram.fill(0, dataAt, dataAt + 0x1000);
    driver.ram.set(wrapper, dataAt);
    driver.queue(slot, 4, [{ type: trbType.normal, pointer: dataAt, length: 31, flags: flag.interrupt }]);
    driver.queue(slot, 3, [{ type: trbType.normal, pointer: dataAt + 0x1000, length: 512, flags: flag.interrupt }, { type: trbType.normal, pointer: dataAt + 0x2000, length: 13, flags: flag.interrupt }]);
    expect((await transfers(3)).map(event => event.code)).toEqual([code.success, code.success, code.success]);
    expect([driver.ram[dataAt + 0x1000], driver.ram[dataAt + 0x11ff], driver.ram[dataAt + 0x1200]]).toEqual([0x5a, 0x5a, 0]);
    expect(driver.ram[dataAt + 0x2000 + 12]).toBe(0);
  });

  it('stalls, and goes on when the guest has cleared it', async () => {
    await untilConnected(true);
    const slot = driver.address(superPort);
    driver.configure(slot, [{ index: 4, type: 2, maxPacket: 1024 }]);
    driver.queue(slot, 4, [{ type: trbType.normal, pointer: dataAt, length: 5, flags: flag.interrupt }]);
    expect(await transfers(1)).toMatchObject([{ code: code.stall, endpoint: 4 }]);
    driver.control(slot, [2, 1, 0, 0, 2, 0, 0, 0], 0);
    await transfers(1);
    expect((await standIn()).calls).toContain('clear out 2');
  });

  it('has many isochronous packets under way, and the guest gets them in order', async () => {
    await untilConnected(true);
    const slot = driver.address(superPort);
    driver.configure(slot, [{ index: 7, type: 5, maxPacket: 192, interval: 3 }]);
    driver.queue(slot, 7, Array.from({ length: 14 }, (_, number) => ({ type: trbType.isochronous, pointer: dataAt + number * 256, length: 192, flags: flag.interrupt })));
    const { isochronous } = await standIn();
    driver.pass(1_000_000);
    await expect.poll(() => isochronous.map(({ endpoint, lengths }) => [endpoint, ...lengths])).toEqual(Array(4).fill([0x83, ...Array(8).fill(192)]));
    const packets = (first: number): HostResult[] => Array.from({ length: 8 }, (_, index) => ({ status: 'ok', data: new DataView(new Uint8Array(192).fill(first + index).buffer) }));
    // The second transfer ends before the first.
    isochronous[1]?.finish(packets(9));
    isochronous[0]?.finish(packets(1));
    expect(await transfers(1)).toMatchObject([{ code: code.success, endpoint: 7 }]);
    // Sixteen are here: each interval of the guest takes one, whatever the host does.
    for (let interval = 1; interval < 14; interval++) {
      driver.pass(1_000_000);
      expect(await transfers(1)).toMatchObject([{ code: code.success, endpoint: 7 }]);
    }
    expect(Array.from({ length: 14 }, (_, number) => driver.ram[dataAt + number * 256 + 191])).toEqual(Array.from({ length: 14 }, (_, number) => number + 1));
    // What was taken is asked for again. A transfer that fails costs its packets, and no more.
    await expect.poll(() => isochronous.length).toBe(6);
    isochronous[2]?.fail();
    driver.queue(slot, 7, Array.from({ length: 3 }, () => ({ type: trbType.isochronous, pointer: dataAt, length: 192, flags: flag.interrupt })));
    for (const expected of [code.success, code.success, code.transaction]) {
      driver.pass(1_000_000);
      expect(await transfers(1)).toMatchObject([{ code: expected, endpoint: 7 }]);
    }
  });

  it('is sent isochronous packets at the guest\'s pace, and those that wait go together', async () => {
    await untilConnected(true);
    const slot = driver.address(superPort);
    driver.configure(slot, [{ index: 6, type: 1, maxPacket: 192, interval: 3 }]);
    for (let number = 0; number < 14; number++) driver.ram.fill(number + 1, dataAt + number * 256, dataAt + number * 256 + 192);
    driver.queue(slot, 6, Array.from({ length: 14 }, (_, number) => ({ type: trbType.isochronous, pointer: dataAt + number * 256, length: 192, flags: flag.interrupt })));
    const { isochronous } = await standIn();
    for (let interval = 0; interval < 14; interval++) driver.pass(1_000_000);
    expect(driver.events().filter(({ type }) => type === trbType.transferEvent).map((event) => event.code)).toEqual(Array(14).fill(code.success));
    await expect.poll(() => isochronous.map(({ lengths }) => lengths.length)).toEqual([8, 6]);
    expect(isochronous.flatMap(({ data }) => Array.from({ length: data.length / 192 }, (_, index) => data[index * 192 + 191]))).toEqual(Array.from({ length: 14 }, (_, number) => number + 1));
  });

  it('that is unplugged in the middle of a transfer fails it, and is there again when it returns', async () => {
    await untilConnected(true);
    const slot = driver.address(superPort);
    driver.configure(slot, [{ index: 3, type: 6, maxPacket: 1024 }]);
    // Nothing was asked of the stick: it does not answer.
    driver.queue(slot, 3, [{ type: trbType.normal, pointer: dataAt, length: 512, flags: flag.interrupt }]);
    renameSync(file, `${file}.away`);
    const events: Event[] = [];
    await expect.poll(() => {
      port.poll();
      events.push(...driver.events().filter(({ type }) => type === trbType.transferEvent));
      return events;
    }, { timeout: 5000 }).toMatchObject([{ code: code.transaction, endpoint: 3 }]);
    await untilConnected(false);
    renameSync(`${file}.away`, file);
    await untilConnected(true);
  });

  it('that another program holds says so, and goes back as it was', async () => {
    await untilConnected(true);
    await server.close();
    const device = await standIn();
    device.calls.length = 0;
    expect(await usbProblem(identity)).toBeNull();
    expect(device.calls).toEqual(['open', 'claim 0', 'release 0', 'close']);
    device.gone = true;
    expect(await usbProblem(identity)).toBe('cannot be taken from the host (no device)');
    expect(await usbProblem('usb:0000:0000:other')).toBeNull();
  });

  it('goes back to the host when its VM ends', async () => {
    await untilConnected(true);
    await server.close();
    expect((await standIn()).calls).toEqual(['open', 'claim 0', 'reset', 'release 0', 'close']);
  });
});
