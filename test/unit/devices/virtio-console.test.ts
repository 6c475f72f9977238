import { describe, expect, it } from 'vitest';
import { VirtioConsole } from '../../../core/devices/virtio/console.ts';
import { VirtioDriver } from '../../doubles/virtioDriver.ts';

const data = 0x2000;
const RECEIVE = [0, 4] as const;
const TRANSMIT = [1, 5] as const;
const TO_DRIVER = 2;
const FROM_DRIVER = 3;

function make(ram?: Uint8Array<ArrayBuffer>) {
  const output = ['', ''];
  const kind = new VirtioConsole('virtio-console', output.map((_, port) => ({ name: `port ${port}`, output: (bytes) => void (output[port] += Buffer.from(bytes).toString()) })));
  const driver = new VirtioDriver(kind, ram);
  return { kind, driver, output };
}

function started() {
  const made = make();
  made.driver.start();
  return made;
}

function tell(driver: VirtioDriver, port: number, event: number, value: number): void {
  driver.view.setUint32(data, port, true);
  driver.view.setUint16(data + 4, event, true);
  driver.view.setUint16(data + 6, value, true);
  driver.submit(FROM_DRIVER, [{ address: data, length: 8, writable: false }]);
}

/** Gives a buffer for a control message and returns what came in it: port, event, value and text. */
function told(driver: VirtioDriver): readonly (number | string)[] | null {
  driver.submit(TO_DRIVER, [{ address: data + 0x100, length: 64, writable: true }]);
  const [used] = driver.used(TO_DRIVER);
  if (!used) return null;
  const at = data + 0x100;
  return [driver.view.getUint32(at, true), driver.view.getUint16(at + 4, true), driver.view.getUint16(at + 6, true), Buffer.from(driver.ram.subarray(at + 8, at + used.length)).toString()];
}

describe('virtio-console', () => {
  it('tells of its ports and their names', () => {
    const { driver } = started();
    expect(driver.read(0x2004, 4)).toBe(2);
    tell(driver, 0, 0, 1);
    expect([told(driver), told(driver)]).toEqual([[0, 1, 1, ''], [1, 1, 1, '']]);
    tell(driver, 1, 3, 1);
    expect([told(driver), told(driver), told(driver)]).toEqual([[1, 7, 1, 'port 1'], [1, 4, 1, ''], [1, 6, 1, '']]);
    tell(driver, 9, 3, 1);
    expect(told(driver)).toBe(null);
  });

  it('carries bytes both ways, port by port', () => {
    const { kind, driver, output } = started();
    driver.ram.set(Buffer.from('hello'), data);
    driver.submit(TRANSMIT[1], [{ address: data, length: 5, writable: false }]);
    driver.submit(TRANSMIT[0], [{ address: data, length: 4, writable: false }]);
    expect(output).toEqual(['hell', 'hello']);
    driver.submit(RECEIVE[1], [{ address: data + 0x200, length: 4, writable: true }]);
    expect(kind.receive(1, Buffer.from('typed'))).toBe(4);
    expect(Buffer.from(driver.ram.subarray(data + 0x200, data + 0x204)).toString()).toBe('type');
    // The rest waits for a buffer.
    expect(kind.receive(1, Buffer.from('d'))).toBe(0);
    driver.submit(RECEIVE[1], [{ address: data + 0x200, length: 4, writable: true }]);
    expect(kind.receive(1, Buffer.from('d'))).toBe(1);
    expect(driver.used(RECEIVE[1]).map(({ length }) => length)).toEqual([4, 1]);
  });

  it('without a driver input is lost and the emergency write shows', () => {
    const { kind, driver, output } = make();
    expect(kind.receive(0, Buffer.from('lost'))).toBe(4);
    driver.write(0x2008, 4, 0x21);
    expect(output[0]).toBe('!');
  });

  it('a message that found no buffer is told after a restore', () => {
    const { driver } = started();
    tell(driver, 0, 0, 1);
    const other = make(new Uint8Array(driver.ram));
    other.driver.device.loadState(JSON.parse(JSON.stringify(driver.device.saveState())));
    expect(other.driver.device.saveState()).toEqual(driver.device.saveState());
  });
});
