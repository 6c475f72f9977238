import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NvmeController } from '../../../core/devices/nvme/controller.ts';
import { MemoryDisk } from '../../doubles/memoryDisk.ts';
import { plugged } from '../../doubles/virtioDriver.ts';

const ENTRIES = 16;
const submission = [0x10000, 0x12000];
const completion = [0x11000, 0x13000];
const data = 0x20000;

class Driver {
  readonly ram: Uint8Array;
  readonly view: DataView;
  readonly disk = new MemoryDisk();
  readonly plug: ReturnType<typeof plugged<NvmeController>>;
  readonly #tail = [0, 0];
  readonly #head = [0, 0];
  #next = 1;

  constructor(ram = new Uint8Array(1 << 20)) {
    this.ram = ram;
    this.view = new DataView(ram.buffer);
    this.plug = plugged(new NvmeController('nvme-0', this.disk, 'serial-0'), ram);
  }

  get controller(): NvmeController {
    return this.plug.fn;
  }

  write(offset: number, value: number): void {
    this.controller.registers.write(offset, 4, value >>> 0);
  }

  read(offset: number): number {
    return this.controller.registers.read(offset, 4);
  }

  /** Puts a command into a queue: opcode and words by their numbers. Returns its identifier. */
  submit(queue: number, opcode: number, words: Readonly<Record<number, number>>): number {
    const id = this.#next++;
    const at = (submission[queue] ?? 0) + (this.#tail[queue] ?? 0) * 64;
    this.ram.fill(0, at, at + 64);
    this.view.setUint32(at, opcode | (id << 16), true);
    for (const [word, value] of Object.entries(words)) this.view.setUint32(at + Number(word) * 4, value >>> 0, true);
    this.#tail[queue] = ((this.#tail[queue] ?? 0) + 1) % ENTRIES;
    this.write(0x1000 + queue * 8, this.#tail[queue] ?? 0);
    return id;
  }

  /** Takes completions: identifier, status and result. */
  completions(queue: number): { readonly id: number; readonly status: number; readonly result: number }[] {
    const found = [];
    for (;;) {
      const head = this.#head[queue] ?? 0;
      const at = (completion[queue] ?? 0) + (head % ENTRIES) * 16;
      const last = this.view.getUint16(at + 14, true);
      if ((last & 1) !== (Math.floor(head / ENTRIES) % 2 === 0 ? 1 : 0)) return found;
      found.push({ id: this.view.getUint16(at + 12, true), status: last >> 1, result: this.view.getUint32(at, true) });
      this.#head[queue] = head + 1;
      this.write(0x1004 + queue * 8, (head + 1) % ENTRIES);
    }
  }

  start(): this {
    this.write(0x24, (ENTRIES - 1) | ((ENTRIES - 1) << 16));
    this.write(0x28, submission[0] ?? 0);
    this.write(0x30, completion[0] ?? 0);
    this.write(0x14, 0x00460001);
    this.submit(0, 5, { 6: completion[1] ?? 0, 10: 1 | ((ENTRIES - 1) << 16), 11: 3 });
    this.submit(0, 1, { 6: submission[1] ?? 0, 10: 1 | ((ENTRIES - 1) << 16), 11: 1 | (1 << 16) });
    expect(this.completions(0).map(({ status }) => status)).toEqual([0, 0]);
    return this;
  }
}

describe('NVMe', () => {
  it('becomes ready and identifies itself', () => {
    const driver = new Driver().start();
    expect(driver.read(0x1c)).toBe(1);
    driver.submit(0, 6, { 6: data, 10: 1 });
    expect(Buffer.from(driver.ram.subarray(data + 4, data + 12)).toString()).toBe('serial-0');
    driver.submit(0, 6, { 1: 1, 6: data, 10: 0 });
    expect(driver.view.getUint32(data, true)).toBe(2048);
    expect(driver.completions(0)).toHaveLength(2);
  });

  it('tells a host that asked for it when the disk has become larger, once until it has read of it', () => {
    const driver = new Driver().start();
    const grow = (size: number): void => {
      driver.disk.grow(size);
      driver.controller.sizeChanged();
    };
    driver.submit(0, 6, { 6: data, 10: 1 });
    expect(driver.view.getUint32(data + 92, true)).toBe(0x100);
    const first = driver.submit(0, 12, {});
    grow(2 << 20);
    expect(driver.completions(0), 'nobody asked for notices').toHaveLength(1);
    driver.submit(0, 9, { 10: 11, 11: 0x100 });
    driver.submit(0, 12, {});
    expect(driver.completions(0).filter(({ id }) => id === first)).toEqual([{ id: first, status: 0, result: 0x040002 }]);
    grow(3 << 20);
    expect(driver.completions(0)).toEqual([]);
    driver.submit(0, 2, { 6: data, 10: 4 | (1023 << 16) });
    expect([driver.view.getUint32(data, true), driver.view.getUint32(data + 4, true), driver.completions(0).length]).toEqual([1, 0, 1]);
    grow(4 << 20);
    expect(driver.completions(0)).toMatchObject([{ status: 0, result: 0x040002 }]);
    driver.submit(0, 6, { 1: 1, 6: data, 10: 0 });
    expect(driver.view.getUint32(data, true)).toBe(8192);
  });

  it('reads through one page, two pages and a list', () => {
    const driver = new Driver().start();
    const list = 0x18000;
    for (let index = 0; index < 40; index++) driver.view.setBigUint64(list + index * 8, BigInt(data + 0x1000 + index * 0x1000), true);
    for (const [sectors, second] of [[8, 0], [16, data + 0x1000], [128, list]] as const) {
      driver.ram.fill(0, data, data + 0x20000);
      driver.submit(1, 2, { 1: 1, 6: data, 8: second, 10: 3, 12: sectors - 1 });
      expect(driver.completions(1).map(({ status }) => status)).toEqual([0]);
      expect(driver.ram.subarray(data, data + sectors * 512)).toEqual(driver.disk.bytes.subarray(1536, 1536 + sectors * 512));
    }
    expect(driver.plug.line).toBe(false);
  });

  it('reads into pages in any order, some of them behind one another', () => {
    const driver = new Driver().start();
    const list = 0x18000;
    const places = [7, 8, 9, 3, 2, 1, 5];
    for (let page = 0; page < 10; page++) driver.disk.bytes.fill(page + 1, page * 4096, (page + 1) * 4096);
    places.forEach((place, index) => driver.view.setBigUint64(list + index * 8, BigInt(data + place * 0x1000), true));
    driver.submit(1, 2, { 1: 1, 6: data + 0x6000, 8: list, 10: 8, 12: 63 });
    expect(driver.completions(1).map(({ status }) => status)).toEqual([0]);
    [6, ...places].forEach((place, index) => {
      const from = 4096 + index * 4096;
      expect(driver.ram.subarray(data + place * 0x1000, data + (place + 1) * 0x1000), `page ${index}`).toEqual(driver.disk.bytes.subarray(from, from + 4096));
    });
  });

  it('writes, flushes and zeroes', () => {
    const driver = new Driver().start();
    driver.ram.fill(0x33, data, data + 4096);
    driver.submit(1, 1, { 1: 1, 6: data, 10: 8, 12: 7 });
    driver.submit(1, 0, { 1: 1 });
    driver.submit(1, 8, { 1: 1, 10: 8, 12: 0 });
    expect(driver.completions(1).map(({ status }) => status)).toEqual([0, 0, 0]);
    expect([driver.disk.bytes[4096], driver.disk.bytes[4608]]).toEqual([0, 0x33]);
  });

  it('refuses what cannot be', () => {
    const driver = new Driver().start();
    const cases: readonly (readonly [number, Readonly<Record<number, number>>, number])[] = [
      [2, { 1: 1, 6: data, 10: 5000, 12: 0 }, 0x80], [2, { 1: 2, 6: data, 10: 0, 12: 0 }, 0x0b], [2, { 1: 1, 6: data + 2, 10: 0, 12: 0 }, 0x02],
      [2, { 1: 1, 6: 0x90000000, 10: 0, 12: 0 }, 0x04], [0x55, { 1: 1 }, 0x01],
    ];
    for (const [opcode, words, expected] of cases) {
      driver.submit(1, opcode, words);
      expect(driver.completions(1).map(({ status }) => status & 0x7ff)).toEqual([expected]);
    }
    driver.submit(0, 4, { 10: 1 });
    expect(driver.completions(0)[0]?.status).toBe(0x410c);
  });

  it('holds completions back while their queue is full', () => {
    const driver = new Driver().start();
    for (let index = 0; index < ENTRIES - 1; index++) driver.submit(1, 0, { 1: 1 });
    const late = driver.submit(1, 0, { 1: 1 });
    const found = driver.completions(1);
    expect(found.map(({ id }) => id)).toContain(late);
    expect(found).toHaveLength(ENTRIES);
  });

  it('a state saved with commands under way goes on in another machine', () => {
    const driver = new Driver().start();
    driver.disk.immediate = false;
    driver.submit(1, 2, { 1: 1, 6: data, 10: 2, 12: 0 });
    const other = new Driver(driver.ram.slice());
    other.controller.loadState(JSON.parse(JSON.stringify(driver.controller.saveState())));
    expect(other.ram.subarray(data, data + 512)).toEqual(driver.disk.bytes.subarray(1024, 1536));
    expect(other.view.getUint16((completion[1] ?? 0) + 14, true)).toBe(1);
  });

  it('random commands crash nothing, hang nothing and reach nothing outside memory and disk', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(1), fc.nat(26), fc.array(fc.nat(0xffffffff), { minLength: 16, maxLength: 16 }), fc.boolean()), { maxLength: 10 }), commands => {
      const driver = new Driver().start();
      for (const [queue, opcode, words, near] of commands) {
        const given = Object.fromEntries(words.map((value, index) => [index, near && index >= 6 && index < 10 ? (index % 2 === 0 ? value & 0xffffc : 0) : near && index > 9 ? value & 0xfff : value]).slice(1));
        driver.submit(queue, opcode, { ...given, 1: near ? 1 : words[1] ?? 0 });
        driver.completions(0);
        driver.completions(1);
      }
    }), { numRuns: 400 });
  });
});
