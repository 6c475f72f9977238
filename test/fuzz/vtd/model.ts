/**
 * A second opinion on remapping: one that reads tables byte by byte for every request, remembers nothing, and shares no code with core/vtd.
 * Written from the specification's text, for comparison only. Bits are asked for one at a time.
 */

export interface ModelRequest {
  readonly source: number;
  readonly pasid: number | null;
  /** Page number of the address. */
  readonly page: number;
  readonly write: boolean;
  readonly execute: boolean;
  readonly privileged: boolean;
}

/** A page, or the number of a fault and whether it is to be reported. */
export type ModelAnswer = { readonly page: number } | { readonly fault: number; readonly reported: boolean };

const denied = (fault: number, silent = false): ModelAnswer => ({ fault, reported: !silent });

/** A step of a walk gives an answer or throws one of these. */
class Denied extends Error {
  readonly fault: number;

  constructor(fault: number) {
    super();
    this.fault = fault;
  }
}

export class VtdModel {
  private readonly bytes: Uint8Array;
  private readonly width: number;

  /** @param width bits of a host address, between 33 and 51 */
  constructor(bytes: Uint8Array, width: number) {
    this.bytes = bytes;
    this.width = width;
  }

  private has(address: number, length: number): boolean {
    return address >= 0 && address + length <= this.bytes.length;
  }

  /** Bit `index` of the structure at an address. */
  private b(address: number, index: number): number {
    return (this.bytes[address + (index >> 3)]! >> (index & 7)) & 1;
  }

  /** Bits `low` to `high`. */
  private f(address: number, low: number, high: number): number {
    let value = 0;
    for (let index = high; index >= low; index--) value = value * 2 + this.b(address, index);
    return value;
  }

  private anySet(address: number, low: number, high: number): boolean {
    for (let index = low; index <= high; index++) if (this.b(address, index) === 1) return true;
    return false;
  }

  private set(address: number, index: number): void {
    this.bytes[address + (index >> 3)]! |= 1 << (index & 7);
  }

  /** Address in bits 12 to 51 of a quadword at `offset` bits; what lies beyond the host's width is asked for elsewhere. */
  private pointer(address: number, offset = 0): number {
    return this.f(address, offset + 12, offset + this.width - 1) * 4096;
  }

  private beyond(address: number, offset = 0, last = 63): boolean {
    return this.anySet(address, offset + this.width, offset + last);
  }

  // ---- legacy mode ----

  legacy(root: number, q: ModelRequest): ModelAnswer {
    if (q.pasid !== null) return denied(0x31);
    const r = root + Math.floor(q.source / 256) * 16;
    if (!this.has(r, 16)) return denied(0x08);
    if (!this.b(r, 0)) return denied(0x01);
    if (this.anySet(r, 1, 11) || this.beyond(r) || this.anySet(r, 64, 127)) return denied(0x0a);
    const c = this.pointer(r) + (q.source % 256) * 16;
    if (!this.has(c, 16)) return denied(0x09);
    const silent = this.b(c, 1) === 1;
    if (!this.b(c, 0)) return denied(0x02, silent);
    if (this.anySet(c, 4, 11) || this.beyond(c) || this.b(c, 71) || this.anySet(c, 88, 127)) return denied(0x0b, silent);
    const type = this.f(c, 2, 3);
    const width = this.f(c, 64, 66);
    if (type === 3 || width < 1 || width > 3) return denied(0x03, silent);
    if (type === 2) return q.page < 2 ** (this.width - 12) ? { page: q.page } : denied(0x04, silent);
    try {
      const page = this.second(this.pointer(c), width + 2, false, q.page, q.write, { beyond: 4, top: 7, table: 7, reserved: 0xc, none: q.write ? 5 : 6, read: 6, write: 5 });
      return this.notInterrupt(page, 0x0e, silent);
    } catch (thrown) {
      return this.refusal(thrown, silent);
    }
  }

  private refusal(thrown: unknown, silent: boolean): ModelAnswer {
    if (thrown instanceof Denied) return denied(thrown.fault, silent);
    throw thrown;
  }

  private notInterrupt(page: number, fault: number, silent: boolean): ModelAnswer {
    return Math.floor(page / 256) === 0xfee ? denied(fault, silent) : { page };
  }

  // ---- scalable mode ----

  scalable(root: number, q: ModelRequest): ModelAnswer {
    const r = root + Math.floor(q.source / 256) * 16 + (q.source % 256 >= 128 ? 8 : 0);
    if (!this.has(r, 8)) return denied(0x38);
    if (!this.b(r, 0)) return denied(0x39);
    if (this.anySet(r, 1, 11) || this.beyond(r)) return denied(0x3a);
    const c = this.pointer(r) + (q.source % 128) * 32;
    if (!this.has(c, 32)) return denied(0x40);
    let silent = this.b(c, 1) === 1;
    if (!this.b(c, 0)) return denied(0x41, silent);
    if (this.anySet(c, 4, 8) || this.beyond(c) || this.anySet(c, 85, 255)) return denied(0x42, silent);
    if (q.pasid !== null && !this.b(c, 3)) return denied(0x45, silent);
    const pasid = q.pasid ?? this.f(c, 64, 83);
    const privileged = q.pasid === null ? this.b(c, 84) === 1 : q.privileged;
    if (pasid >= 2 ** (this.f(c, 9, 11) + 13)) return denied(0x46, silent);
    const d = this.pointer(c) + Math.floor(pasid / 64) * 8;
    if (!this.has(d, 8)) return denied(0x50, silent);
    silent ||= this.b(d, 1) === 1;
    if (!this.b(d, 0)) return denied(0x51, silent);
    if (this.anySet(d, 2, 11) || this.beyond(d)) return denied(0x52, silent);
    const e = this.pointer(d) + (pasid % 64) * 64;
    if (!this.has(e, 64)) return denied(0x58, silent);
    silent ||= this.b(e, 1) === 1;
    if (!this.b(e, 0)) return denied(0x59, silent);
    const reserved = [[5, 5], [10, 11], [80, 86], [134 + 1, 139], [192, 511]].some(([low, high]) => this.anySet(e, low!, high!));
    if (reserved || this.beyond(e) || this.beyond(e, 128)) return denied(0x5a, silent);
    return this.byPasidEntry(e, { ...q, privileged }, silent);
  }

  private byPasidEntry(e: number, q: ModelRequest, silent: boolean): ModelAnswer {
    const type = this.f(e, 6, 8);
    const width = this.f(e, 2, 4);
    const needsSecond = type === 2 || type === 3;
    const needsFirst = type === 1 || type === 3;
    if (type < 1 || type > 4 || (needsSecond && (width < 1 || width > 3)) || (needsFirst && this.f(e, 130, 131) > 1)) return denied(0x5b, silent);
    if (q.pasid !== null && q.execute && !this.b(e, 129)) return denied(0x5c, silent);
    if (q.pasid !== null && q.privileged && !this.b(e, 128)) return denied(0x5d, silent);
    if (type === 4) return q.page < 2 ** (this.width - 12) ? { page: q.page } : denied(0x83, silent);
    try {
      const page = type === 2 ? this.secondOf(e, q.page, q.write) : this.first(e, q, type === 3);
      return this.notInterrupt(page, 0x87, silent);
    } catch (thrown) {
      return this.refusal(thrown, silent);
    }
  }

  private secondOf(e: number, page: number, write: boolean): number {
    const codes = { beyond: 0x84, top: 0x7b, table: 0x78, reserved: 0x7a, none: 0x79, read: 0x86, write: 0x85 };
    return this.second(this.pointer(e), this.f(e, 2, 4) + 2, this.b(e, 9) === 1, page, write, codes);
  }

  /** One second-stage walk. Returns a page or throws `Denied`. */
  private second(top: number, levels: number, marks: boolean, page: number, write: boolean, codes: Record<'beyond' | 'top' | 'table' | 'reserved' | 'none' | 'read' | 'write', number>): number {
    if (page >= 2 ** (9 * levels)) throw new Denied(codes.beyond);
    const path: number[] = [];
    let table = top;
    for (let level = levels; level >= 1; level--) {
      const e = table + (Math.floor(page / 2 ** (9 * (level - 1))) % 512) * 8;
      if (!this.has(e, 8)) throw new Denied(level === levels ? codes.top : codes.table);
      if (!this.b(e, 0) && !this.b(e, 1)) throw new Denied(codes.none);
      const large = level > 1 && this.b(e, 7) === 1;
      if (this.anySet(e, this.width, 51)) throw new Denied(codes.reserved);
      if (large && level > 3) throw new Denied(codes.reserved);
      if (level > 1 && !large && (this.b(e, 11) || this.b(e, 62))) throw new Denied(codes.reserved);
      if (large && this.anySet(e, 12, 12 + 9 * (level - 1) - 1)) throw new Denied(codes.reserved);
      if (write && !this.b(e, 1)) throw new Denied(codes.write);
      if (!write && !this.b(e, 0)) throw new Denied(codes.read);
      path.push(e);
      if (level > 1 && !large) {
        table = this.pointer(e);
        continue;
      }
      const run = 2 ** (9 * (level - 1));
      const target = this.pointer(e) / 4096 + (page % run);
      if (marks) for (const entry of path) this.set(entry, 8);
      if (marks && write) this.set(e, 9);
      return target;
    }
    throw new Error('a walk ends at level 1');
  }

  /** Where a first-stage entry lies. */
  private entry(e: number, nested: boolean, address: number, write: boolean, top: boolean): number {
    if (!nested) return address;
    const within = address % 4096;
    try {
      const page = Math.floor(address / 4096);
      // The bits of an entry are read before they are set.
      if (write) this.probe(e, page);
      return this.secondOf(e, page, write) * 4096 + within;
    } catch (thrown) {
      if (!(thrown instanceof Denied)) throw thrown;
      const renamed = new Map([[0x84, 0x74], [0x86, top ? 0x75 : 0x76], [0x85, 0x77]]);
      throw new Denied(renamed.get(thrown.fault) ?? thrown.fault);
    }
  }

  /** Setting a bit needs the right to read, too. */
  private probe(e: number, page: number): void {
    const codes = { beyond: 0x84, top: 0x7b, table: 0x78, reserved: 0x7a, none: 0x79, read: 0x85, write: 0x85 };
    this.second(this.pointer(e), this.f(e, 2, 4) + 2, false, page, false, codes);
  }

  private first(e: number, q: ModelRequest, nested: boolean): number {
    const levels = 4 + this.f(e, 130, 131);
    const half = 2 ** (9 * levels - 1);
    if (q.page >= half && q.page < 2 ** 52 - half) throw new Denied(0x80);
    const path: { readonly guest: number; readonly accessed: boolean; readonly dirty: boolean }[] = [];
    const leaf = this.descend(e, q, nested, levels, path);
    const target = nested ? this.secondOf(e, leaf, q.write) : leaf;
    path.forEach(({ guest, accessed, dirty }, index) => {
      const last = index === path.length - 1;
      if (accessed && (dirty || !last || !q.write)) return;
      const at = this.entry(e, nested, guest, true, index === 0);
      if (!this.has(at, 8)) return;
      this.set(at, 5);
      if (last && q.write) this.set(at, 6);
    });
    return target;
  }

  private descend(
    e: number, q: ModelRequest, nested: boolean, levels: number, path: { readonly guest: number; readonly accessed: boolean; readonly dirty: boolean }[],
  ): number {
    let table = this.pointer(e, 128);
    let writable = true;
    let user = true;
    let executable = true;
    for (let level = levels; level >= 1; level--) {
      const guest = table + (Math.floor(q.page / 2 ** (9 * (level - 1))) % 512) * 8;
      const at = this.entry(e, nested, guest, false, level === levels);
      if (!this.has(at, 8)) throw new Denied(level === levels ? 0x73 : 0x70);
      if (!this.b(at, 0)) throw new Denied(0x71);
      const large = level > 1 && this.b(at, 7) === 1;
      const reserved = (large && level > 3) || this.anySet(at, this.width, 51) || (this.b(at, 63) === 1 && !this.b(e, 133))
        || (large && this.anySet(at, 13, 12 + 9 * (level - 1) - 1));
      if (reserved) throw new Denied(0x72);
      writable &&= this.b(at, 1) === 1;
      user &&= this.b(at, 2) === 1;
      executable &&= this.b(at, 63) === 0;
      path.push({ guest, accessed: this.b(at, 5) === 1, dirty: this.b(at, 6) === 1 });
      if (level > 1 && !large) {
        table = this.pointer(at);
        continue;
      }
      if (!user && !q.privileged) throw new Denied(0x81);
      if (!q.write && q.execute && (!executable || (q.privileged && user && this.b(e, 134) === 1))) throw new Denied(0x82);
      if (q.write && !writable && (!q.privileged || this.b(e, 132) === 1)) throw new Denied(0x85);
      const run = 2 ** (9 * (level - 1));
      const base = this.f(at, 12 + 9 * (level - 1), this.width - 1) * run;
      return base + (q.page % run);
    }
    throw new Error('a walk ends at level 1');
  }

  // ---- interrupts ----

  /** What becomes of a remappable message: the fields of the interrupt, null where nobody is told, or a fault. */
  interrupt(table: number, entries: number, extended: boolean, source: number, address: number, data: number): ModelInterrupt | null | { fault: number; reported: boolean; index: number } {
    const fault = (code: number, index: number, silent = false) => ({ fault: code, reported: !silent, index });
    if (data > 0xffff) return fault(0x20, 0);
    let index = (Math.floor(address / 32) % 32768) + (Math.floor(address / 4) % 2) * 32768;
    if (Math.floor(address / 8) % 2 === 1) index += data;
    if (index >= entries) return fault(0x21, index);
    const e = table + index * 16;
    if (!this.has(e, 16)) return fault(0x23, index);
    const silent = this.b(e, 1) === 1;
    if (!this.b(e, 0)) return fault(0x22, index, silent);
    const posted = this.b(e, 15) === 1;
    const reserved = posted
      ? this.anySet(e, 2, 7) || this.anySet(e, 12, 13) || this.anySet(e, 24, 37) || this.anySet(e, 96 + this.width - 32, 127) || this.anySet(e, 84, 95)
      : this.anySet(e, 12, 14) || this.anySet(e, 24, 31) || this.anySet(e, 84, 127);
    const check = this.f(e, 82, 83);
    if (reserved || check === 3) return fault(0x24, index, silent);
    const owner = this.f(e, 64, 79);
    if (check === 1) {
      const ignored = [[], [2], [1, 2], [0, 1, 2]][this.f(e, 80, 81)]!;
      for (let at = 0; at < 16; at++) if (!ignored.includes(at) && ((owner >> at) & 1) !== ((source >> at) & 1)) return fault(0x26, index, silent);
    }
    if (check === 2 && (source >> 8 < owner >> 8 || source >> 8 > owner % 256)) return fault(0x26, index, silent);
    const destination = (at: number): number => (extended ? this.f(at, 32, 63) : this.f(at, 40, 47));
    if (!posted) return { vector: this.f(e, 16, 23), mode: this.f(e, 5, 7), level: this.b(e, 4) === 1, logical: this.b(e, 2) === 1, destination: destination(e) };
    const descriptor = this.f(e, 96, 127) * 2 ** 32 + this.f(e, 38, 63) * 64;
    if (!this.has(descriptor, 64)) return fault(0x27, index, silent);
    const control = descriptor + 32;
    if (this.anySet(control, 2, 15) || this.anySet(control, 24, 31)) return fault(0x28, index, silent);
    this.set(descriptor, this.f(e, 16, 23));
    if (this.b(control, 0) || (this.b(control, 1) && !this.b(e, 14))) return null;
    this.set(control, 0);
    return { vector: this.f(control, 16, 23), mode: 0, level: false, logical: false, destination: destination(control) };
  }
}

export interface ModelInterrupt {
  readonly vector: number;
  readonly mode: number;
  readonly level: boolean;
  readonly logical: boolean;
  readonly destination: number;
}
