/**
 * An assembler made from the opcode rows: mnemonic and operands choose the row by its letters, the shortest encoding wins, labels may be
 * used before they are bound. There is no text syntax: programs are TypeScript.
 */
import type { CodeSize } from './decoder.ts';
import type { Encoding, FormWish } from './encoder.ts';
import { ANY_FORM, defaultSize, encodeRow } from './encoder.ts';
import type { Row } from './rows.ts';
import type { Operand } from './registers.ts';
import { ALIASES, spellings, variesBy } from './mnemonics.ts';
import { rows } from './table/index.ts';

/** An instruction or a label that cannot be assembled. The message shows it. */
export class AssemblyError extends Error {
  override readonly name = 'AssemblyError';
}

interface Candidate {
  readonly row: Row;
  readonly wish: FormWish;
}

const PREFIXES: Readonly<Record<string, 0xf0 | 0xf2 | 0xf3>> = { LOCK: 0xf0, REP: 0xf3, REPE: 0xf3, REPZ: 0xf3, REPNE: 0xf2, REPNZ: 0xf2 };

/** What each mnemonic can be in code of a size. */
function indexRows(code: CodeSize): ReadonlyMap<string, readonly Candidate[]> {
  const index = new Map<string, Candidate[]>();
  const sizes: readonly (16 | 32 | 64)[] = code === 64 ? [16, 32, 64] : [16, 32];
  for (const row of rows) {
    if (row.name === 'UD' || row.name === 'ESC' || (code === 64 ? row.has.i64 : row.has.o64)) continue;
    const varies = variesBy(row);
    for (const opSize of varies.opSize ? sizes : [null]) {
      for (const addressSize of varies.addressSize ? sizes : [null]) {
        for (const rexW of varies.rexW ? [false, true] : [null]) {
          const plain = defaultSize(row, code);
          const names = spellings(row, { opSize: opSize ?? plain, addressSize: addressSize ?? code, rexW: rexW ?? false }, plain);
          for (const name of names) {
            const list = index.get(name) ?? [];
            index.set(name, list);
            list.push({ row, wish: { ...ANY_FORM, opSize, addressSize, rexW } });
          }
        }
      }
    }
  }
  return index;
}

const indexes = new Map<CodeSize, ReadonlyMap<string, readonly Candidate[]>>();

function indexFor(code: CodeSize): ReadonlyMap<string, readonly Candidate[]> {
  let index = indexes.get(code);
  if (!index) indexes.set(code, index = indexRows(code));
  return index;
}

/** Instruction text for messages. */
function show(name: string, operands: readonly Operand[]): string {
  const text = (operand: Operand): string => {
    if (typeof operand !== 'object') return String(operand);
    switch (operand.kind) {
      case 'register': return operand.name;
      case 'memory': {
        const { base, index, scale, label, displacement, size } = operand;
        const parts = [base?.name, index && `${index.name}*${scale}`, label, displacement || null];
        return `${size === null ? '' : `${size}-bit `}[${parts.filter(part => part !== null && part !== undefined).join('+')}]`;
      }
      case 'far': return `${operand.selector}:${operand.offset}`;
      case 'offset': return `offset ${operand.label}`;
    }
  };
  return `${name} ${operands.map(text).join(', ')}`.trim();
}

/**
 * Every encoding of an instruction, the shortest first.
 * @throws AssemblyError when there is none, or when the size of a memory operand is open
 */
export function encodings(code: CodeSize, name: string, operands: readonly Operand[]): readonly Encoding[] {
  const words = name.toUpperCase().split(' ');
  const prefix = words.length > 1 ? PREFIXES[words[0]!] : undefined;
  const bare = (prefix === undefined ? words : words.slice(1)).join(' ');
  const candidates = indexFor(code).get(ALIASES[bare] ?? bare);
  if (!candidates) throw new AssemblyError(`there is no instruction '${bare}' in ${code}-bit code`);
  const found: Encoding[] = [];
  for (const { row, wish } of candidates) {
    const encoding = encodeRow(row, operands, code, prefix === undefined ? wish : { ...wish, prefix });
    if (encoding) found.push(encoding);
  }
  if (found.length === 0) throw new AssemblyError(`no form of ${bare} takes these operands in ${code}-bit code: ${show(name, operands)}`);
  const widths = new Set(found.map(({ assumedWidth }) => assumedWidth));
  if (widths.size > 1) {
    const remedy = 'write byte(...), word(...), dword(...) or qword(...)';
    throw new AssemblyError(`the size of the memory operand is open; ${remedy}: ${show(name, operands)}`);
  }
  return found.sort((a, b) => a.bytes.length - b.bytes.length);
}

interface Item {
  readonly kind: 'code' | 'data' | 'align' | 'label';
  readonly encodings: readonly Encoding[];
  chosen: number;
  readonly data: Uint8Array;
  readonly alignment: number;
  readonly label: string;
  readonly source: string;
  address: number;
  length: number;
}

const nothing = { encodings: [], chosen: 0, data: new Uint8Array(0), alignment: 1, label: '', source: '', address: 0, length: 0 } as const;

/** How many rounds of growing branches are made; each round lengthens at least one. */
const MAX_ROUNDS = 10_000;

/** A program under construction. */
export class Assembler {
  /** Size of the code that is emitted from now on. */
  code: CodeSize;
  readonly origin: number;
  private readonly items: Item[] = [];
  private readonly bound = new Set<string>();
  private addresses: Map<string, number> | null = null;

  /** `origin` is the address of the first byte. */
  constructor(code: CodeSize, origin: number) {
    this.code = code;
    this.origin = origin;
  }

  /** Appends an instruction. @throws AssemblyError when it has no encoding */
  emit(name: string, ...operands: Operand[]): this {
    const all = encodings(this.code, name, operands);
    // Without labels the shortest is the only one that counts.
    const kept = all[0]!.fixups.length > 0 ? all : [all[0]!];
    this.items.push({ ...nothing, kind: 'code', encodings: kept, source: all[0]!.fixups.length > 0 ? show(name, operands) : '' });
    return this;
  }

  /** Binds a label to the place that follows. @throws AssemblyError when it is bound already */
  label(name: string): this {
    if (this.bound.has(name) || name === '') throw new AssemblyError(`the label '${name}' is bound twice`);
    this.bound.add(name);
    this.items.push({ ...nothing, kind: 'label', label: name });
    return this;
  }

  has(label: string): boolean {
    return this.bound.has(label);
  }

  /** Appends bytes; text becomes UTF-8. */
  data(data: Uint8Array | readonly number[] | string): this {
    this.items.push({ ...nothing, kind: 'data', data: typeof data === 'string' ? new TextEncoder().encode(data) : Uint8Array.from(data) });
    return this;
  }

  /** Appends the addresses of labels, or numbers, `size` bytes each. */
  words(size: 1 | 2 | 4 | 8, ...values: (string | number | bigint)[]): this {
    for (const value of values) {
      const number = typeof value === 'string' ? 0n : BigInt(value);
      const bytes = Array.from({ length: size }, (_, i) => Number((number >> BigInt(8 * i)) & 0xffn));
      if (typeof value !== 'string') this.data(bytes);
      else {
        const fixups = [{ at: 0, size, label: value, relative: false, addend: 0 }];
        this.items.push({ ...nothing, kind: 'code', encodings: [{ row: rows[0]!, bytes, fixups, assumedWidth: null }], source: value });
      }
    }
    return this;
  }

  /** Fills up with `filler` to a multiple of `alignment`. */
  align(alignment: number, filler = 0x90): this {
    this.items.push({ ...nothing, kind: 'align', alignment, data: Uint8Array.of(filler) });
    return this;
  }

  /** The address of a bound label after `finish`. */
  addressOf(label: string): number {
    const address = this.addresses?.get(label);
    if (address === undefined) throw new AssemblyError(`the label '${label}' has no address`);
    return address;
  }

  /**
   * Lays the program out and returns its bytes. Branches begin short and grow until all reach.
   * @throws AssemblyError naming a label that is not bound, or a place that is out of reach
   */
  finish(): Uint8Array {
    for (let round = 0; ; round++) {
      this.layOut();
      if (!this.grow()) break;
      if (round === MAX_ROUNDS) throw new AssemblyError('the layout does not settle');
    }
    return this.write();
  }

  private layOut(): void {
    const addresses = new Map<string, number>();
    let address = this.origin;
    for (const item of this.items) {
      item.address = address;
      switch (item.kind) {
        case 'label': addresses.set(item.label, address); break;
        case 'data': item.length = item.data.length; break;
        case 'align': item.length = (item.alignment - (address % item.alignment)) % item.alignment; break;
        case 'code': item.length = item.encodings[item.chosen]!.bytes.length; break;
      }
      address += item.length;
    }
    this.addresses = addresses;
  }

  /** Moves each instruction whose fixups do not fit to its next encoding; answers whether any moved. */
  private grow(): boolean {
    let grew = false;
    for (const item of this.items) {
      if (item.kind !== 'code') continue;
      const { fixups } = item.encodings[item.chosen]!;
      if (fixups.every(fixup => this.fits(fixup, item))) continue;
      if (item.chosen + 1 >= item.encodings.length) throw new AssemblyError(`out of reach: ${item.source}`);
      item.chosen++;
      grew = true;
    }
    return grew;
  }

  private valueOf(fixup: Encoding['fixups'][number], item: Item): number {
    const target = fixup.label === '' ? 0 : this.addresses!.get(fixup.label);
    if (target === undefined) throw new AssemblyError(`the label '${fixup.label}' is not bound: ${item.source}`);
    return target + fixup.addend - (fixup.relative ? item.address + item.length : 0);
  }

  private fits(fixup: Encoding['fixups'][number], item: Item): boolean {
    const value = this.valueOf(fixup, item);
    if (fixup.size === 8) return true;
    const limit = 2 ** (fixup.size * 8 - 1);
    // 16-bit branches wrap within the segment; addresses may be unsigned.
    return value >= -limit && value < (fixup.relative && fixup.size !== 2 ? limit : limit * 2);
  }

  private write(): Uint8Array {
    const last = this.items.at(-1);
    const image = new Uint8Array(last ? last.address + last.length - this.origin : 0);
    for (const item of this.items) {
      const at = item.address - this.origin;
      if (item.kind === 'data') image.set(item.data, at);
      else if (item.kind === 'align') image.fill(item.data[0]!, at, at + item.length);
      else if (item.kind === 'code') {
        const { bytes, fixups } = item.encodings[item.chosen]!;
        image.set(bytes, at);
        for (const fixup of fixups) {
          const value = BigInt(this.valueOf(fixup, item));
          for (let i = 0; i < fixup.size; i++) image[at + fixup.at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
        }
      }
    }
    return image;
  }
}
