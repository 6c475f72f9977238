/** The register sets of a VGA behind its ports 3B0H to 3DFH. (IBM VGA technical reference; FreeVGA) */

import type { StateReader } from '../../platform/state.ts';

/** An index register and the registers that it chooses from, with the bits that each has. */
interface IndexedSet {
  readonly index: number;
  readonly data: number;
  readonly masks: readonly number[];
}

const crtcMasks = Array.from({ length: 25 }, () => 0xff);

/** Ports of the colour addresses; the CRTC also answers at 3B4H and 3B5H in monochrome. */
export const indexedSets = {
  sequencer: { index: 0x3c4, data: 0x3c5, masks: [0x03, 0x3d, 0x0f, 0x3f, 0x0e] },
  graphics: { index: 0x3ce, data: 0x3cf, masks: [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff] },
  crtc: { index: 0x3d4, data: 0x3d5, masks: crtcMasks },
} as const satisfies Record<string, IndexedSet>;

const attributeMasks = [...Array.from({ length: 16 }, () => 0x3f), 0xef, 0xff, 0x3f, 0x0f, 0x0f];
const port = {
  attribute: 0x3c0, attributeRead: 0x3c1, misc: 0x3c2, pelMask: 0x3c6, dacRead: 0x3c7, dacWrite: 0x3c8, dacData: 0x3c9, miscRead: 0x3cc, status: 0x3da,
} as const;
const colourAddresses = 0x01;
const protectCrtc = 0x80;
const overflow = 0x07;
const lineCompareBit8 = 0x10;

export class VgaRegisters {
  readonly sequencer = new Uint8Array(indexedSets.sequencer.masks.length);
  readonly graphics = new Uint8Array(indexedSets.graphics.masks.length);
  readonly crtc = new Uint8Array(indexedSets.crtc.masks.length);
  readonly attribute = new Uint8Array(attributeMasks.length);
  /** Red, green and blue of 256 entries, as software wrote them: six bits, or eight when the adapter is told so. */
  readonly dac = new Uint8Array(768);
  readonly #indexes = { sequencer: 0, graphics: 0, crtc: 0 };
  misc = 0;
  pelMask = 0xff;
  /** Bit 5: the display shows; below it the attribute register that is chosen. */
  attributeIndex = 0;
  #attributeData = false;
  #dacPosition = 0;
  #dacReading = false;
  readonly #retrace: () => number;

  /** @param retrace bits 0 (not displaying) and 3 (vertical retrace) of input status 1 */
  constructor(retrace: () => number) {
    this.#retrace = retrace;
  }

  /** A colour adapter in text mode, blank until firmware sets it up. */
  reset(): void {
    for (const bytes of [this.sequencer, this.graphics, this.crtc, this.attribute, this.dac]) bytes.fill(0);
    Object.assign(this.#indexes, { sequencer: 0, graphics: 0, crtc: 0 });
    this.misc = 0;
    this.pelMask = 0xff;
    this.attributeIndex = 0;
    this.#attributeData = false;
    this.#dacPosition = 0;
    this.#dacReading = false;
  }

  /** Where memory is: bits 3:2 of graphics register 6. */
  get memoryMap(): number {
    return ((this.graphics[6] ?? 0) >> 2) & 3;
  }

  read(address: number): number {
    const at = this.#normalise(address);
    for (const [name, set] of Object.entries(indexedSets) as [keyof typeof indexedSets, IndexedSet][]) {
      if (at === set.index) return this.#indexes[name];
      if (at === set.data) return this[name][this.#indexes[name]] ?? 0;
    }
    switch (at) {
      case port.attribute: return this.attributeIndex;
      case port.attributeRead: return this.attribute[this.attributeIndex & 0x1f] ?? 0;
      case port.misc: return 0x10;
      case port.pelMask: return this.pelMask;
      case port.dacRead: return this.#dacReading ? 3 : 0;
      case port.dacWrite: return Math.floor(this.#dacPosition / 3) & 0xff;
      case port.dacData: return this.dac[this.#advance()] ?? 0;
      case port.miscRead: return this.misc;
      case port.status:
        this.#attributeData = false;
        return this.#retrace();
      default: return at < 0 ? 0xff : 0;
    }
  }

  write(address: number, value: number): void {
    const at = this.#normalise(address);
    for (const [name, set] of Object.entries(indexedSets) as [keyof typeof indexedSets, IndexedSet][]) {
      if (at === set.index) this.#indexes[name] = value;
      else if (at === set.data) this.#writeIndexed(name, set, value);
    }
    switch (at) {
      case port.attribute: return this.#writeAttribute(value);
      case port.misc: this.misc = value; return;
      case port.pelMask: this.pelMask = value; return;
      case port.dacRead: return this.#seek(value, true);
      case port.dacWrite: return this.#seek(value, false);
      case port.dacData: this.dac[this.#advance()] = value; return;
      default:
    }
  }

  save(): object {
    const { misc, pelMask, attributeIndex } = this;
    return {
      sequencer: [...this.sequencer], graphics: [...this.graphics], crtc: [...this.crtc], attribute: [...this.attribute], dac: [...this.dac],
      indexes: [this.#indexes.sequencer, this.#indexes.graphics, this.#indexes.crtc], misc, pelMask, attributeIndex, attributeData: this.#attributeData,
      dacPosition: this.#dacPosition, dacReading: this.#dacReading,
    };
  }

  /** Checks a saved set. Returns what puts it in place. */
  check(reader: StateReader): () => void {
    const sets = (['sequencer', 'graphics', 'crtc', 'attribute', 'dac'] as const).map(name => [this[name], reader.uints(name, 8, this[name].length)] as const);
    const indexes = reader.uints('indexes', 8, 3);
    const next = { misc: reader.uint('misc', 8), pelMask: reader.uint('pelMask', 8), attributeIndex: reader.uint('attributeIndex', 6) };
    const attributeData = reader.boolean('attributeData');
    const dacPosition = reader.integer('dacPosition', 0, 767);
    const dacReading = reader.boolean('dacReading');
    return () => {
      for (const [bytes, saved] of sets) bytes.set(saved);
      Object.assign(this.#indexes, { sequencer: indexes[0], graphics: indexes[1], crtc: indexes[2] });
      Object.assign(this, next);
      this.#attributeData = attributeData;
      this.#dacPosition = dacPosition;
      this.#dacReading = dacReading;
    };
  }

  /** The CRTC and input status 1 answer at 3BxH or at 3DxH, as the miscellaneous register says; -1: the other ones. */
  #normalise(address: number): number {
    const mono = address >= 0x3b0 && address < 0x3c0;
    if (!mono && address < 0x3d0) return address;
    return mono === ((this.misc & colourAddresses) === 0) ? 0x3d0 | (address & 0xf) : -1;
  }

  #writeIndexed(name: keyof typeof indexedSets, { masks }: IndexedSet, value: number): void {
    const index = this.#indexes[name];
    const mask = masks[index];
    if (mask === undefined) return;
    // Bit 7 of register 11H protects 0 to 7; the line compare bit among them can still be written.
    if (name === 'crtc' && index <= overflow && ((this.crtc[0x11] ?? 0) & protectCrtc) !== 0) {
      if (index === overflow) this.crtc[overflow] = ((this.crtc[overflow] ?? 0) & ~lineCompareBit8) | (value & lineCompareBit8);
      return;
    }
    this[name][index] = value & mask;
  }

  /** Index and data take turns; reading input status 1 makes the index the next. */
  #writeAttribute(value: number): void {
    if (this.#attributeData) {
      const index = this.attributeIndex & 0x1f;
      if (index < attributeMasks.length) this.attribute[index] = value & (attributeMasks[index] ?? 0);
    } else this.attributeIndex = value & 0x3f;
    this.#attributeData = !this.#attributeData;
  }

  #seek(entry: number, reading: boolean): void {
    this.#dacPosition = entry * 3;
    this.#dacReading = reading;
  }

  #advance(): number {
    const at = this.#dacPosition;
    this.#dacPosition = (at + 1) % 768;
    return at;
  }
}
