/** Random remapping tables in a small memory, and random changes to them. Both memories, the unit's and the model's, get the same bytes. */
import type { Random } from './random.ts';

/** Pages of the memory. */
export const layout = { root: 0, contexts: [1, 2], directory: 3, pasids: [4, 5], interrupts: 6, posted: 7, queue: 8, status: 9, pools: 10 } as const;
export const domains = 6;
export const poolPages = 5;
export const memoryPages = layout.pools + domains * poolPages;
export const sources = [0x0000, 0x0008, 0x0090, 0x00f8, 0x0108, 0x0190, 0x0208] as const;
export const pasidNumbers = [0, 1, 2, 3, 63, 64, 65, 130] as const;
export const hostAddressBits = 39;
/** Entries of the interrupt remapping table. */
export const interruptEntries = 64;
const indices = [0, 1, 2, 511] as const;
/** Bits of an interrupt remapping entry that lead to no other posted-interrupt descriptor: it could lie in a table. */
const interruptBits = [...Array(15).keys(), ...Array.from({ length: 22 }, (_, bit) => 16 + bit), ...Array.from({ length: 32 }, (_, bit) => 64 + bit)];

/** What all entries with a domain ID have in common: the caches share translations between them. */
interface DomainConfig {
  width: number;
  type: number;
  marks: boolean;
  firstMode: number;
  second: number;
  first: number;
  flags: bigint;
}

export class Tables {
  readonly unit = new Uint8Array(memoryPages * 4096);
  readonly model = new Uint8Array(memoryPages * 4096);
  scalable = false;
  private readonly views = [new DataView(this.unit.buffer), new DataView(this.model.buffer)];
  private readonly random: Random;
  private readonly configs: DomainConfig[] = [];

  constructor(random: Random) {
    this.random = random;
  }

  put(address: number, value: bigint): void {
    for (const view of this.views) view.setBigUint64(address, BigInt.asUintN(64, value), true);
  }

  /** Everything anew. */
  fill(scalable: boolean): void {
    this.scalable = scalable;
    for (const bytes of [this.unit, this.model]) bytes.fill(0);
    for (let domain = 0; domain < domains; domain++) {
      this.configs[domain] = this.newConfig(domain);
      for (let page = 0; page < poolPages; page++) for (const index of indices) this.putPageEntry(domain, page, index);
    }
    if (scalable) this.fillScalable();
    else this.fillLegacy();
    for (let index = 0; index < interruptEntries; index++) this.putInterruptEntry(index);
  }

  /** An address that the tables often know. */
  address(): number {
    const { random } = this;
    let page = 0;
    const levels = random.pick([2, 3, 3, 4, 4, 5]);
    for (let level = 0; level < levels; level++) page += random.pick(indices) * 2 ** (9 * level);
    if (random.once(12)) page += 2 ** random.below(52);
    // The upper half of a canonical address.
    if (random.once(4)) page += 2 ** 52 - 2 ** random.pick([35, 36, 44, 45]);
    return page % 2 ** 52;
  }

  changePageEntry(): number {
    const domain = this.random.below(domains);
    this.putPageEntry(domain, this.random.below(poolPages), this.random.pick(indices));
    return domain + 1;
  }

  changeInterruptEntry(): number {
    const index = this.random.below(interruptEntries);
    this.putInterruptEntry(index);
    if (this.random.once(3)) this.change(layout.interrupts * 4096 + index * 16, this.random.pick(interruptBits));
    return index;
  }

  /** One bit of the context entry of a source: one that changes no translation. Returns the sources that share the entry. */
  flipContext(): readonly number[] {
    const source = this.random.pick(sources);
    const legacyBits = [0, 1, 4, 9, 11, 50, 63, 71, 90, 120];
    const scalableBits = [0, 1, 2, 3, 4, 8, 45, 63, 84, 85, 130, 200];
    this.flip(this.contextAddress(source), this.random.pick(this.scalable ? scalableBits : legacyBits));
    return this.sharing(source);
  }

  private sharing(source: number): readonly number[] {
    return sources.filter(other => this.contextAddress(other) === this.contextAddress(source));
  }

  flipRoot(): void {
    this.flip(layout.root * 4096 + this.random.below(3) * 16, this.random.pick([0, 1, 5, 11, 45, 62, 64, 70, 127]));
  }

  flipDirectory(): void {
    this.flip(layout.directory * 4096 + this.random.below(3) * 8, this.random.pick([0, 1, 2, 11, 44, 60]));
  }

  /** One bit of a PASID entry. Returns its domain. */
  flipPasid(): number {
    const table = this.random.pick(layout.pasids);
    const slot = this.random.pick([0, 1, 2, 3, 63]);
    this.flip(table * 4096 + slot * 64, this.random.pick([0, 1, 5, 10, 11, 42, 82, 128, 129, 136, 150 + 30, 200, 300, 511]));
    return this.pasidDomain(table, slot) + 1;
  }

  /** Takes the last change of a single bit back. */
  unflip(): void {
    this.undo();
    this.undo = () => {};
  }

  private undo: () => void = () => {};

  private flip(address: number, bit: number): void {
    this.change(address, bit);
    this.undo = () => this.change(address, bit);
  }

  private change(address: number, bit: number): void {
    const at = address + (bit >> 3);
    for (const bytes of [this.unit, this.model]) bytes[at]! ^= 1 << (bit & 7);
  }

  private newConfig(domain: number): DomainConfig {
    const { random } = this;
    const pool = (): number => random.once(20) ? memoryPages + random.below(9) : layout.pools + domain * poolPages + random.below(poolPages);
    // WPE, NXE and SMEP: bits 132 to 134.
    return {
      width: random.once(15) ? random.below(8) : 1 + random.below(3), type: random.once(15) ? random.below(8) : 1 + random.below(4), marks: random.once(2),
      firstMode: random.once(15) ? 2 : random.below(2), second: pool(), first: pool(), flags: BigInt(random.below(8)) << 4n,
    };
  }

  private putPageEntry(domain: number, page: number, index: number): void {
    this.put((layout.pools + domain * poolPages + page) * 4096 + index * 8, this.pageEntry(domain));
  }

  /**
   * An entry that means something to both stages. Of the memory's pages it leads to none but its domain's own: a walk that took others for page
   * tables would set accessed bits in structures, or find entries whose changes are told of another domain, and by the rules that needs no invalidation.
   */
  private pageEntry(domain: number): bigint {
    const entry = this.anyPageEntry(domain);
    const page = Number((entry >> 12n) & 0xfffffffn);
    const first = layout.pools + domain * poolPages;
    const own = page >= first && page < first + poolPages;
    return page >= memoryPages || own ? entry : entry | (64n << 12n);
  }

  private anyPageEntry(domain: number): bigint {
    const { random } = this;
    const kind = random.below(60);
    if (kind === 0) return random.quad();
    if (kind < 3) return random.quad() & ~3n;
    const rights = random.pick([7n, 7n, 7n, 7n, 7n, 5n, 3n, 1n, 2n]);
    const marks = BigInt(random.pick([0, 0, 0x20, 0x60, 0x100, 0x300]));
    const oddities = random.once(40) ? 1n << BigInt(random.pick([7, 11, 12, 38, 39, 51, 52, 62, 63])) : 0n;
    if (kind < 14) {
      const target = BigInt(random.pick([random.below(2 ** 27), 0xfee00 + random.below(256), random.below(2 ** 9) * 2 ** 18, random.below(2 ** 18) * 512]));
      return (target << 12n) | (random.once(2) ? 0x80n : 0n) | rights | marks | oddities;
    }
    const next = BigInt(layout.pools + domain * poolPages + random.below(poolPages));
    return (next << 12n) | rights | marks | oddities;
  }

  private fillLegacy(): void {
    for (let bus = 0; bus < 3; bus++) {
      const page = bus === 2 ? memoryPages + 3 : layout.contexts[bus] ?? 0;
      this.put(layout.root * 4096 + bus * 16, (BigInt(page) << 12n) | 1n);
    }
    for (const source of sources) {
      const domain = this.random.below(domains);
      const config = this.configs[domain]!;
      const type = this.random.pick([0, 0, 0, 1, 2, 3]);
      const low = (BigInt(config.second) << 12n) | BigInt(type << 2) | (this.random.once(6) ? 2n : 0n) | 1n;
      const address = this.contextAddress(source);
      if (address + 16 > this.unit.length) continue;
      this.put(address, low);
      this.put(address + 8, BigInt(config.width) | (BigInt(domain + 1) << 8n));
    }
  }

  private contextAddress(source: number): number {
    const upper = source % 256 >= 128;
    if (this.scalable) return (layout.contexts[upper ? 1 : 0] ?? 0) * 4096 + (source % 128) * 32;
    return (layout.contexts[(source >> 8) % 2] ?? 0) * 4096 + (source % 256) * 16;
  }

  private fillScalable(): void {
    for (let bus = 0; bus < 3; bus++) {
      const address = layout.root * 4096 + bus * 16;
      this.put(address, (BigInt(layout.contexts[0]) << 12n) | 1n);
      this.put(address + 8, (BigInt(bus === 2 ? memoryPages : layout.contexts[1]) << 12n) | 1n);
    }
    for (const source of sources) {
      const address = this.contextAddress(source);
      const flags = BigInt(this.random.pick([0xd, 0xd, 0xd, 0x5, 0xf]));
      this.put(address, (BigInt(layout.directory) << 12n) | flags);
      this.put(address + 8, BigInt(this.random.pick(pasidNumbers)) | (this.random.once(3) ? 1n << 20n : 0n));
    }
    [layout.pasids[0], layout.pasids[1], memoryPages + 1].forEach((page, index) => this.put(layout.directory * 4096 + index * 8, (BigInt(page) << 12n) | 1n));
    for (const table of layout.pasids) for (const slot of [0, 1, 2, 3, 63]) this.putPasidEntry(table, slot);
  }

  private pasidDomain(table: number, slot: number): number {
    return (slot + (table === layout.pasids[0] ? 0 : 3)) % domains;
  }

  private putPasidEntry(table: number, slot: number): void {
    const domain = this.pasidDomain(table, slot);
    const { width, type, marks, firstMode, second, first, flags } = this.configs[domain]!;
    const address = table * 4096 + slot * 64;
    this.put(address, (BigInt(second) << 12n) | (marks ? 0x200n : 0n) | BigInt(type << 6) | BigInt(width << 2) | (this.random.once(8) ? 2n : 0n) | 1n);
    this.put(address + 8, BigInt(domain + 1));
    this.put(address + 16, (BigInt(first) << 12n) | flags | BigInt(firstMode << 2) | BigInt(this.random.pick([3, 3, 3, 0, 1, 2])));
  }

  private putInterruptEntry(index: number): void {
    const { random } = this;
    const address = layout.interrupts * 4096 + index * 16;
    const posted = random.once(3);
    const low = BigInt(random.word() & 0x00ff0ffe) | (random.once(10) ? 0n : 1n);
    const high = BigInt(random.pick(sources)) | (BigInt(random.pick([0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 12])) << 16n);
    if (!posted) {
      this.put(address, low | (BigInt(random.word()) << 32n));
      this.put(address + 8, high);
      return;
    }
    const descriptor = BigInt(random.once(20) ? memoryPages * 4096 : layout.posted * 4096 + random.below(8) * 64);
    this.put(address, (low & 0xff0f03n) | 0x8000n | (random.once(3) ? 0x4000n : 0n) | ((descriptor >> 6n) << 38n));
    this.put(address + 8, high | ((descriptor >> 32n) << 32n));
    const control = layout.posted * 4096 + random.below(8) * 64 + 32;
    this.put(control, (random.quad() & ~0xff00fffdn) | BigInt(random.below(4)) | (random.once(20) ? 8n : 0n));
  }
}
