/** The display interface of Bochs: modes by width, height and depth, beyond what a VGA has. Sixteen-bit registers behind an index. */

import type { StateReader } from '../../platform/state.ts';

export const dispi = {
  id: 0, width: 1, height: 2, depth: 3, enable: 4, bank: 5, virtualWidth: 6, virtualHeight: 7, x: 8, y: 9, memory: 10,
} as const;
const identity = 0xb0c5;
const flag = { enabled: 0x01, capabilities: 0x02, wideDac: 0x20, keepMemory: 0x80 } as const;
const largest = { width: 2560, height: 1600, depth: 32 } as const;
const depths = [4, 8, 15, 16, 24, 32];

/** A mode as it is shown. */
export interface LinearMode {
  readonly width: number;
  readonly height: number;
  /** Bits of a pixel. */
  readonly depth: number;
  /** Bytes from line to line. */
  readonly pitch: number;
  /** Byte at the upper left. */
  readonly start: number;
}

export class DisplayInterface {
  readonly #values = new Uint16Array(11);
  readonly #memoryBytes: number;
  /** Called when a mode is switched on; whether memory is to be cleared. */
  readonly #switched: (depth: number, clear: boolean) => void;
  index = 0;

  constructor(memoryBytes: number, switched: (depth: number, clear: boolean) => void) {
    this.#memoryBytes = memoryBytes;
    this.#switched = switched;
    this.reset();
  }

  reset(): void {
    this.index = 0;
    this.#values.fill(0);
    this.#values[dispi.id] = identity;
  }

  get enabled(): boolean {
    return (this.#at(dispi.enable) & flag.enabled) !== 0;
  }

  get wideDac(): boolean {
    return (this.#at(dispi.enable) & flag.wideDac) !== 0;
  }

  /** Offset in video memory of the window below 1 MiB. */
  get bank(): number {
    return this.enabled ? this.#at(dispi.bank) << 16 : 0;
  }

  /** What is shown; null while the VGA's own modes are. */
  get mode(): LinearMode | null {
    if (!this.enabled) return null;
    const [width, height, depth] = [this.#at(dispi.width), this.#at(dispi.height), this.#at(dispi.depth)];
    const pitch = this.#pitch(this.#at(dispi.virtualWidth));
    return { width, height, depth, pitch, start: this.#at(dispi.y) * pitch + this.#pitch(this.#at(dispi.x)) };
  }

  read(register: number): number {
    if (register === dispi.memory) return this.#memoryBytes >> 16;
    if (register === dispi.virtualHeight) {
      const pitch = this.#pitch(this.#at(dispi.virtualWidth));
      return pitch === 0 ? 0 : Math.min(0xffff, Math.floor(this.#memoryBytes / pitch));
    }
    if ((this.#at(dispi.enable) & flag.capabilities) !== 0) {
      if (register === dispi.width) return largest.width;
      if (register === dispi.height) return largest.height;
      if (register === dispi.depth) return largest.depth;
    }
    return this.#at(register);
  }

  write(register: number, value: number): void {
    switch (register) {
      case dispi.id:
        // The interface's versions, of which the newest answers with what was written.
        if (value >= 0xb0c0 && value <= identity) this.#values[dispi.id] = value;
        break;
      case dispi.enable:
        this.#enable(value);
        break;
      case dispi.width: case dispi.height: case dispi.depth:
        if (!this.enabled) this.#values[register] = value;
        break;
      case dispi.virtualWidth: case dispi.x: case dispi.y: case dispi.bank:
        this.#values[register] = value;
        break;
      default:
    }
  }

  save(): object {
    return { index: this.index, values: [...this.#values] };
  }

  check(reader: StateReader): () => void {
    const index = reader.uint('index', 16);
    const values = reader.uints('values', 16, this.#values.length);
    const enabled = ((values[dispi.enable] ?? 0) & flag.enabled) !== 0;
    const [width = 0, height = 0, depth = 0] = [dispi.width, dispi.height, dispi.depth].map(register => values[register]);
    if (enabled && !this.#fits(width, height, depth)) reader.refuse('values', 'a mode that the memory holds');
    return () => {
      this.index = index;
      this.#values.set(values);
    };
  }

  #enable(value: number): void {
    const was = this.enabled;
    this.#values[dispi.enable] = value;
    if (!this.enabled || was) return;
    if (!this.#fits(this.#at(dispi.width), this.#at(dispi.height), this.#at(dispi.depth))) {
      this.#values[dispi.enable] = value & ~flag.enabled;
      return;
    }
    this.#values[dispi.virtualWidth] = this.#at(dispi.width);
    this.#values[dispi.bank] = 0;
    this.#values[dispi.x] = 0;
    this.#values[dispi.y] = 0;
    this.#switched(this.#at(dispi.depth), (value & flag.keepMemory) === 0);
  }

  #fits(width: number, height: number, depth: number): boolean {
    const allowed = depths.includes(depth) && width > 0 && width <= largest.width && height > 0 && height <= largest.height;
    return allowed && width * height * Math.max(1, Math.ceil(depth / 8)) <= this.#memoryBytes;
  }

  /** Bytes of so many pixels; four planes of a bit each have eight pixels in four bytes. */
  #pitch(pixels: number): number {
    const depth = this.#at(dispi.depth);
    return depth === 4 ? pixels >> 1 : pixels * Math.ceil(depth / 8);
  }

  #at(register: number): number {
    return this.#values[register] ?? 0;
  }
}
