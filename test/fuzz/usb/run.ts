/**
 * Hostile drivers of the xHCI controller: random registers, rings, contexts and descriptors, devices that come and go, states that are saved
 * and restored. Nothing throws, each step costs a bounded number of accesses to memory, and a restored controller goes on as the saved one.
 */
import { isDeepStrictEqual } from 'node:util';
import { DmaMemory } from '../../../core/platform/dma.ts';
import { UsbKeyboard, UsbTablet } from '../../../core/devices/usb/hid.ts';
import { UsbStorage } from '../../../core/devices/usb/storage.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { XhciController } from '../../../core/devices/usb/xhci/controller.ts';
import { ManualTime } from '../../doubles/manualTime.ts';
import { MemoryDisk } from '../../doubles/memoryDisk.ts';
import { ScriptedDevice } from '../../doubles/usbDevice.ts';
import { Random } from '../vtd/random.ts';
import type { TransferStatus } from '../../../core/devices/usb/device.ts';

const RAM = 1 << 16;
/** A step that reads or writes memory more often holds its guest up. */
const ACCESSES_MAXIMUM = 400_000;
const statuses: readonly TransferStatus[] = ['completed', 'completed', 'completed', 'stall', 'error', 'babble'];
const operational = [0x40, 0x44, 0x54, 0x58, 0x5c, 0x70, 0x74, 0x78];
const setups = [[0x80, 6, 0, 1], [0x80, 6, 0, 2], [0x00, 9, 1, 0], [0x21, 10, 0, 0], [0x21, 0xff, 0, 0], [0x02, 1, 0, 0]];

export interface UsbFuzz {
  readonly steps: number;
  /** Events by their type, and transfers by the status that they ended with. */
  readonly events: ReadonlyMap<string, number>;
}

class Bench {
  readonly random: Random;
  readonly ram = new Uint8Array(RAM);
  readonly view = new DataView(this.ram.buffer);
  readonly time = new ManualTime();
  readonly clock = new VirtualClock(this.time);
  readonly stray = new ScriptedDevice('full');
  readonly tablet = new UsbTablet('tablet');
  readonly keyboard = new UsbKeyboard('keyboard');
  readonly disk = new MemoryDisk(1 << 16);
  readonly controller: XhciController;
  readonly events = new Map<string, number>();
  accesses = 0;
  lastEvent = 0x3000;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.controller = new XhciController('xhci', this.clock);
    for (const device of [this.tablet, this.keyboard, this.stray, new UsbStorage('stick', this.disk, 'serial')]) this.controller.attach(device);
    const dma = new DmaMemory(this.ram);
    dma.onRead = () => void (this.accesses += 1);
    const port = dma.port(() => 8);
    this.controller.connect({
      dma: { ...port, write: (address, from) => this.#written(address, from) && port.write(address, from) }, setLine() {}, sendMessage() {}, map: () => () => {},
    });
    this.controller.writeConfig(4, 2, 6);
    this.stray.script = ({ endpoint, length, data }) => {
      if (this.random.below(4) === 0) return null;
      const status = statuses[this.random.below(statuses.length)] ?? 'error';
      // A device may send more than there is room for.
      return [status, new Uint8Array(endpoint >= 0x80 || data.length === 0 ? this.random.below(length + 20) : 0)];
    };
    this.#setUp();
  }

  #written(address: number, from: Uint8Array): boolean {
    this.accesses += 1;
    if (from.length === 16 && address >= 0x3000 && address < 0x3400) {
      this.lastEvent = address;
      const kind = `${((from[13] ?? 0) >> 2) & 63}/${from[11] ?? 0}`;
      this.events.set(kind, (this.events.get(kind) ?? 0) + 1);
    }
    return true;
  }

  write(offset: number, value: number): void {
    this.controller.registers.write(offset, 4, value >>> 0);
  }

  /** A controller that runs, with rings that make some sense: nonsense alone ends at the first check. */
  #setUp(): void {
    for (let at = 0; at < RAM; at += 16) this.#block(at);
    this.write(0x78, 8);
    this.write(0x70, 0x1000);
    this.write(0x58, 0x2001);
    for (let slot = 0; slot <= 8; slot++) this.view.setBigUint64(0x1000 + slot * 8, BigInt(0x6000 + slot * 0x400), true);
    this.view.setBigUint64(0x1800, 0x3000n, true);
    this.view.setUint32(0x1808, 64, true);
    this.write(0x1028, 1);
    this.write(0x1038, 0x3000);
    this.write(0x1030, 0x1800);
    this.write(0x1020, 2);
    this.write(0x40, 5);
    for (let port = 1; port <= 8; port++) this.write(0x440 + (port - 1) * 16, 0x210);
    // The last event that was taken is none of this ring.
    this.lastEvent = 0x3ff0;
    this.#enumerate();
  }

  /** Slots with addresses and endpoints for what is plugged in, as a driver would. */
  #enumerate(): void {
    const word = (at: number, type: number, pointer: number, slot: number): void => {
      this.view.setBigUint64(at, BigInt(pointer), true);
      this.view.setUint32(at + 12, ((type << 10) | (slot << 24) | 1) >>> 0, true);
    };
    for (let index = 0; index < 4; index++) {
      const [slot, input, at] = [index + 1, 0x4000 + index * 0x400, 0x2000 + index * 48];
      this.#input(input, [1, 2, 3, 5][index]);
      word(at, 9, 0, 0);
      word(at + 16, 11, input, slot);
      word(at + 32, 12, input, slot);
    }
    this.view.setUint32(0x20cc, 0, true);
    this.write(0x2000, 0);
    this.#takeEvents();
  }

  #takeEvents(): void {
    this.write(0x1038, (0x3000 + ((this.lastEvent + 16 - 0x3000) % 0x400)) | 8);
  }

  /** Something that looks like a block of a ring. */
  #block(at: number): void {
    const { random } = this;
    const type = [1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 23, 40][random.below(27)] ?? 1;
    const control = (type << 10) | random.below(2) | (random.below(4) === 0 ? random.below(1024) & ~1 : 32) | (random.below(9) << 24) | (random.below(8) << 16);
    this.view.setUint32(at, type >= 9 && type <= 13 ? 0x4000 + random.below(8) * 0x400 : random.below(RAM), true);
    this.view.setUint32(at + 4, random.below(50) === 0 ? random.below(2 ** 32) : 0, true);
    this.view.setUint32(at + 8, random.below(random.below(8) === 0 ? 2 ** 32 : 2048), true);
    this.view.setUint32(at + 12, control >>> 0, true);
    if (type === 2) {
      this.ram.set(setups[random.below(setups.length)] ?? [], at);
      this.view.setUint32(at + 4, random.below(256) * 0x10000, true);
      this.view.setUint32(at + 8, 8, true);
    }
  }

  /** An input context: a slot at some port, endpoints with rings somewhere. */
  #input(at: number, port?: number): void {
    const { random } = this;
    this.view.setUint32(at, port === undefined && random.below(8) === 0 ? random.below(256) : 0, true);
    this.view.setUint32(at + 4, 3 | (random.below(64) << 2), true);
    this.view.setUint32(at + 32, port === undefined && random.below(10) === 0 ? random.below(2 ** 32) : 8 << 27 >>> 0, true);
    this.view.setUint32(at + 36, (port ?? 1 + random.below(9)) << 16, true);
    for (let index = 1; index <= 8; index++) {
      const type = port === undefined && random.below(6) === 0 ? random.below(8) : index === 1 ? 4 : (index & 1) === 1 ? 5 + random.below(3) : 1 + random.below(3);
      const place = at + 32 + index * 32;
      this.view.setUint32(place, random.below(10) << 16, true);
      this.view.setUint32(place + 4, (type << 3) | (random.below(1025) << 16), true);
      this.view.setUint32(place + 8, (0x8000 + random.below(0x700) * 16) | random.below(2), true);
      this.view.setUint32(place + 12, random.below(40) === 0 ? random.below(2 ** 32) : 0, true);
    }
  }

  step(): void {
    const { random } = this;
    this.accesses = 0;
    switch (random.below(16)) {
      case 0: this.write(operational[random.below(operational.length)] ?? 0x40, random.below(6) === 0 ? random.below(2 ** 32) : [5, 1, 7, 0x2001, 0x1000, 8, 2][random.below(7)] ?? 5); break;
      case 1: this.write(0x440 + random.below(9) * 16, random.below(3) === 0 ? random.below(2 ** 32) : 0x210 | (random.below(2) << 16) | (random.below(16) << 5)); break;
      case 2: this.write(0x1020 + (random.below(8) === 0 ? 0 : 32 + random.below(3) * 32) + random.below(8) * 4, random.below(2 ** 32)); break;
      case 3: case 4: this.write(0x2000, 0); break;
      case 5: case 6: case 7: this.write(0x2000 + (1 + random.below(8)) * 4, random.below(random.below(4) === 0 ? 256 : 10)); break;
      case 8: this.#input(0x4000 + random.below(8) * 0x400); break;
      case 9: case 10: for (let count = 0; count < 32; count++) this.#block(random.below(8) === 0 ? random.below(RAM / 16) * 16 : 0x8000 + random.below(0x800) * 16); break;
      case 11: if (random.below(8) === 0) this.write(0x1038, (0x3000 + random.below(64) * 16) | 8); else this.#takeEvents(); break;
      case 12: this.time.pass(random.below(3_000_000)); break;
      case 13: this.tablet.setPointer(random.below(40000), random.below(40000), random.below(8)); break;
      case 14: this.#plug(); break;
      default: this.stray.answer(statuses[random.below(statuses.length)] ?? 'error', new Uint8Array(random.below(600)));
    }
    this.clock.runDue();
    if (this.accesses > ACCESSES_MAXIMUM) throw new Error(`a step cost ${this.accesses} accesses to memory`);
    // Now and then everything begins anew: a controller that has died stays so until its reset.
    if (random.below(60) === 0) {
      this.write(0x40, 2);
      this.#setUp();
    }
    if (random.below(40) === 0) this.#saveAndRestore();
  }

  #plug(): void {
    const device = [this.stray, this.tablet, this.keyboard][this.random.below(3)];
    if (device === undefined) return;
    if (this.controller.devices.includes(device)) this.controller.detach(device);
    else this.controller.attach(device);
  }

  #saveAndRestore(): void {
    const saved = JSON.parse(JSON.stringify(this.controller.saveState())) as unknown;
    this.controller.loadState(saved);
    const again = JSON.parse(JSON.stringify(this.controller.saveState())) as unknown;
    if (!isDeepStrictEqual(saved, again)) throw new Error('a restored controller is another one');
  }
}

/** @throws Error naming the seed and the step at which the controller threw, or held its guest up */
export function fuzzUsb(seed: number, steps: number): UsbFuzz {
  const bench = new Bench(seed);
  for (let step = 0; step < steps; step++) {
    try {
      bench.step();
    } catch (error) {
      throw new Error(`seed ${seed}, step ${step}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
  return { steps, events: bench.events };
}
