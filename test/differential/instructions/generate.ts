/** Makes cases: a row, its encoding, and registers and memory that suit it. A case is fixed by the seed and its number. */
import type { Row } from '../../../core/isa/rows.ts';
import { rows } from '../../../core/isa/table/index.ts';
import { encode } from './encode.ts';
import { exclusionOf, quirkOf } from './exclusions.ts';
import { Case, LOCAL_SEGMENTS, MEMORY_SIZE, PAGE, PATCH2_LIMIT, REGIONS, USER32_CS, USER_CS, USER_DS, baseOf, localSegment, regionNamed } from './layout.ts';
import { Random, extended, float32, float64, integer, vector } from './random.ts';

/** The rows to test on a host with these features, optionally those of one name alone. */
export function testedRows(features: ReadonlySet<string>, name = ''): Row[] {
  return rows.filter(row => exclusionOf(row, features) === '' && (name === '' || row.name.toUpperCase() === name.toUpperCase() || row.opcode.toUpperCase() === name.toUpperCase()));
}

/** What memory holds besides the cases' patches: INT3 in the code pages, anything elsewhere. */
export function patternOf(seed: number): Uint8Array {
  const pattern = new Uint8Array(MEMORY_SIZE);
  new Random(seed, 0x7a77).fill(pattern);
  pattern.fill(0xcc, 0, regionNamed('code').pages * PAGE);
  return pattern;
}

/** Selectors that Linux's descriptor table answers alike on every machine. */
const SELECTORS = [0, 1, 3, 0x23, 0x2b, 0x33, 0x2a, 0x20, 0x28, 0x30, 0x10, 0x18, 0x1b, 0x08, 0x43, 0x63, 0x27, 0x88, 0x103, 0xfff7];
/** With those of the local table. */
const ALL_SELECTORS = [...SELECTORS, ...LOCAL_SEGMENTS.map(({ selector }) => selector), 0x4f];
const CODE_SELECTORS = [USER32_CS, USER_CS, ...LOCAL_SEGMENTS.filter(({ kind }) => kind === 'code').map(({ selector }) => selector)];
/** Rows whose operands are selectors, by name. */
const TAKES_SELECTOR: ReadonlySet<string> = new Set(['LAR', 'LSL', 'VERR', 'VERW', 'ARPL', 'JMPF', 'CALLF', 'RETF', 'IRET', 'LES', 'LDS', 'LSS', 'LFS', 'LGS',
  'POP ES', 'POP SS', 'POP DS', 'POP FS', 'POP GS']);
/** They end without the trap of TF (shadow of the stack segment), or the trap comes later. */
const UNSTEPPED: ReadonlySet<string> = new Set(['POP SS', 'LSS']);

/** The second patch goes to the stack. */
const STACK = -1n;

const CF_TO_OF = 0x8d5;
const ALWAYS = 0x202;
const TF = 0x100;
const DF = 0x400;

/** An address for an operand: mostly in writable data, sometimes across pages, read-only, unmapped, not canonical. */
function targetAddress(random: Random, long: boolean): bigint {
  const aligned = (value: number): number => (random.chance(60) ? value & ~15 : value);
  const data = regionNamed('data').address;
  const choice = random.below(100);
  if (choice < 58) return data + BigInt(aligned(random.below(2 * PAGE)));
  if (choice < 68) return data + BigInt(PAGE - random.below(20));
  if (choice < 74) return regionNamed('constants').address + BigInt(aligned(random.below(PAGE)));
  if (choice < 78) return regionNamed('constants').address - BigInt(random.below(20));
  if (choice < 82) return regionNamed('constants').address + BigInt(PAGE - random.below(20));
  if (choice < 85) return data - BigInt(random.below(20));
  if (!long && random.chance(30) && REGIONS.some(({ name }) => name === 'low')) return regionNamed('low').address + BigInt(aligned(random.below(2 * PAGE + 16)) - 8);
  if (choice < 88) return regionNamed('stack').address + BigInt(aligned(random.below(2 * PAGE)));
  if (!long || choice < 90) return BigInt(random.below(0x1_0000)) << 4n;
  if (choice < 97) return regionNamed('high').address + BigInt(aligned(random.below(PAGE * 2)));
  if (choice < 98) return 0x7fff_ffff_fff0n + BigInt(random.below(32)) + 0x8000_0000_0000n * BigInt(random.below(2));
  if (choice < 99) return 0xffff_7fff_ffff_ffe0n + BigInt(random.below(64));
  return random.u64();
}

function stackAddress(random: Random): bigint {
  const { address } = regionNamed('stack');
  const choice = random.below(100);
  if (choice < 80) return address + 0x400n + BigInt(random.below(0x380) * 8);
  if (choice < 88) return address + 0x1000n + BigInt(random.below(24)) - 12n;
  if (choice < 92) return address + BigInt(random.below(24));
  if (choice < 96) return address + 0x2000n - BigInt(random.below(24));
  return address + BigInt(random.below(0x2000));
}

/** Bytes of a memory operand: numbers of the kinds that registers get. */
function operandBytes(random: Random, length: number): Uint8Array {
  const data = new Uint8Array(length + 16);
  const view = new DataView(data.buffer);
  if (random.chance(15)) for (let i = 0; i + 10 <= length; i += 10) extended(random, view, i);
  else for (let i = 0; i < length; i += 16) vector(random, view, i);
  return data.subarray(0, length);
}

/** Fills the FXSAVE image; exceptions of x87 and SSE are masked most of the time. */
function floatingPoint(random: Random, item: Case): void {
  const { fx, fxView } = item;
  const masks = random.chance(85) ? 0x3f : random.below(64);
  const control = 0x40 | masks | (random.chance(70) ? 0x300 : random.pick([0, 0x200, 0x300]) ) | (random.chance(60) ? 0 : random.below(4) << 10);
  // Flags of the past, and ES and B as they follow from them.
  const flags = random.chance(60) ? 0 : random.below(64);
  const status = (random.below(8) << 11) | (flags & (random.chance(90) ? masks : 0x3f)) | (random.below(8) << 8) | (random.below(2) << 14);
  const summary = status & 0x3f & ~control ? 0x8080 : 0;
  fxView.setUint16(0, control, true);
  fxView.setUint16(2, status | summary, true);
  fx[4] = random.chance(40) ? 0xff : random.chance(30) ? 0 : random.below(256);
  const sseMasks = random.chance(85) ? 0x1f80 : random.below(64) << 7;
  fxView.setUint32(24, sseMasks | (random.chance(70) ? 0 : random.below(64)) | (random.chance(60) ? 0 : random.below(4) << 13)
    | (random.chance(12) ? 0x40 : 0) | (random.chance(12) ? 0x8000 : 0), true);
  fxView.setUint32(28, 0xffff, true);
  for (let i = 0; i < 8; i++) {
    if (random.chance(75)) extended(random, fxView, 32 + i * 16);
    else {
      vector(random, fxView, 32 + i * 16);
      fxView.setUint16(40 + i * 16, 0xffff, true);
      fxView.setUint32(42 + i * 16, 0, true);
      fxView.setUint16(46 + i * 16, 0, true);
    }
  }
  for (let i = 0; i < 16; i++) vector(random, fxView, 160 + i * 16);
}

export interface Generated {
  readonly item: Case;
  /** The row that the instruction decodes to. */
  readonly row: Row;
}

export class Generator {
  private readonly seed: number;
  private readonly rows: readonly Row[];

  constructor(seed: number, tested: readonly Row[]) {
    if (tested.length === 0) throw new Error('no row to test: is the name right, and does this processor have the feature?');
    this.seed = seed;
    this.rows = tested;
  }

  case(number: number): Generated {
    const random = new Random(this.seed, number);
    for (;;) {
      const made = this.attempt(random, this.rows[number % this.rows.length]!);
      if (made) return made;
    }
  }

  private attempt(random: Random, row: Row): Generated | null {
    const item = new Case();
    const long = row.has.o64 || (!row.has.i64 && random.chance(70));
    this.segments(random, item, long);
    const { codeSize } = item;
    const bases = (['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const).map(name => baseOf(item.selector(name)));
    const target = targetAddress(random, long);
    const gpr = Array.from({ length: 16 }, () => (long ? integer(random) : integer(random) & 0xffff_ffffn));
    if (!long) gpr.fill(0n, 8);
    gpr[4] = this.stackPointer(random, item);
    if (random.chance(30)) gpr[5] = this.stackPointer(random, item);
    const wanted = this.registers(random, row, item, target, gpr, bases);
    const base = (): bigint => (random.chance(50) ? 0n : BigInt.asUintN(47, random.chance(50) ? BigInt(random.u32()) : random.u64()));
    if (long) {
      item.fsBase = base();
      item.gsBase = base();
      bases[4] = item.fsBase;
      bases[5] = item.gsBase;
    }
    item.codeAddress = this.place(random);
    item.rip = item.codeAddress - bases[1]!;
    const encoded = encode(random, { row, codeSize, target, rip: item.rip, gpr, bases });
    if (!encoded || exclusionOf(encoded.row, new Set(encoded.row.feature ? [encoded.row.feature] : [])) !== '') return null;
    if (quirkOf(encoded.row, codeSize, encoded.code)) return null;
    // INT 80H is a system call.
    if (row.name === 'INT' && encoded.code[encoded.code.length - 1] === 0x80) return null;
    item.code = encoded.code;
    gpr.forEach((value, i) => item.setGpr(i, long ? value : value & 0xffff_ffffn));
    const shadow = UNSTEPPED.has(encoded.row.name) || (encoded.row.opcode === '8E');
    const stepped = !shadow && (encoded.branchesIntoItself || random.chance(60));
    item.flags = ALWAYS | (random.u32() & CF_TO_OF) | (stepped ? TF : 0) | (random.chance(12) ? DF : 0);
    floatingPoint(random, item);
    if (row.name.startsWith('XRSTOR')) item.setGpr(0, item.gpr(0) & 3n);
    this.memory(random, row, item, wanted, target, bases[2]!);
    return { item, row: encoded.row };
  }

  /** Selectors: Linux's flat ones, sometimes others of the local table in 32-bit and 16-bit code. */
  private segments(random: Random, item: Case, long: boolean): void {
    const own = !long && LOCAL_SEGMENTS.length > 0 && random.chance(35);
    const data = LOCAL_SEGMENTS.filter(({ kind, present }) => kind !== 'code' && present).map(({ selector }) => selector);
    const local = (otherwise: number, list: readonly number[]): number => (own && random.chance(50) ? random.pick(list) : otherwise);
    item.setSelector('cs', long ? USER_CS : local(USER32_CS, [0x07, 0x07, 0x2f]));
    item.setSelector('ss', local(USER_DS, [0x0f, 0x0f, 0x47]));
    item.setSelector('ds', long && random.chance(50) ? 0 : local(USER_DS, data));
    item.setSelector('es', long && random.chance(50) ? 0 : local(USER_DS, data));
    item.setSelector('fs', long || random.chance(30) ? 0 : local(USER_DS, data));
    item.setSelector('gs', long || random.chance(30) ? 0 : local(USER_DS, data));
  }

  /** An offset in the stack segment; 16-bit stacks ignore its upper half. */
  private stackPointer(random: Random, item: Case): bigint {
    const offset = stackAddress(random) - baseOf(item.selector('ss'));
    return localSegment(item.selector('ss'))?.wide === false && random.chance(50) ? offset | 0x7654_0000n : offset;
  }

  /** Where the code lies: anywhere in its two pages, sometimes across them or at their end. */
  private place(random: Random): bigint {
    const { address } = regionNamed('code');
    if (random.chance(90)) return address + BigInt(random.below(2 * PAGE - 64));
    if (random.chance(70)) return address + BigInt(PAGE - random.below(16));
    return address + BigInt(2 * PAGE - 1 - random.below(12));
  }

  /** Registers that instructions use without naming them. Returns where else memory is wanted. */
  private registers(random: Random, row: Row, item: Case, target: bigint, gpr: bigint[], bases: readonly bigint[]): bigint {
    const long = item.codeSize === 64;
    let second = STACK;
    const { name } = row;
    if (row.has.string && row.has.rep) {
      second = random.chance(80) ? targetAddress(random, long) : target + BigInt(random.below(16) - 8);
      gpr[6] = target - bases[3]!;
      gpr[7] = second - bases[0]!;
      gpr[1] = random.chance(90) ? BigInt(random.below(random.chance(20) ? 300 : 24)) : integer(random) & 0xfffn;
      if (long && random.chance(5)) gpr[1]! |= random.u64() & ~0xffff_ffffn;
    } else if (name === 'XLAT') gpr[3] = target - bases[3]! - (gpr[0]! & 0xffn);
    else if (name.startsWith('MASKMOV')) gpr[7] = target - bases[3]!;
    else if (name === 'DIV' || name === 'IDIV') {
      if (random.chance(60)) gpr[2] = BigInt(random.below(3));
      if (name === 'IDIV' && random.chance(50)) gpr[2] = gpr[0]! >> 63n ? (1n << 64n) - 1n : 0n;
      if (random.chance(50)) gpr[0]! &= 0xffffn;
    } else if (/^BT/.test(name) && random.chance(80)) for (let i = 0; i < 16; i++) if (i !== 4) gpr[i] = BigInt.asUintN(64, BigInt(random.below(256) - 128));
    if (/^(SH|SA|RO|RC)/.test(name) && random.chance(85)) gpr[1] = BigInt(random.below(72));
    if (name === 'ENTER' || name === 'LEAVE') gpr[5] = this.stackPointer(random, item);
    if (/^(LOOP|JCXZ)/.test(name)) gpr[1] = BigInt(random.below(3)) | (random.chance(30) ? random.u64() & ~0xffffn : 0n);
    if (TAKES_SELECTOR.has(name) || row.letters.includes('Sw')) for (let i = 0; i < 16; i++) if (i !== 4) gpr[i] = BigInt(random.pick(ALL_SELECTORS));
    return second;
  }

  /** Patches: what lies at the memory operand, and at the stack or a second operand. */
  private memory(random: Random, row: Row, item: Case, second: bigint, target: bigint, stackBase: bigint): void {
    const large = /^FX|^XRSTOR|^XSAVE/.test(row.name) ? 576 : row.name === 'x87' ? 144 : 64;
    const before = large === 64 ? 16 : 0;
    const data = operandBytes(random, large);
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    if (row.name === 'LDMXCSR' && random.chance(90)) view.setUint32(before, random.u32() & 0xffff, true);
    if (row.name === 'FXRSTOR' && random.chance(90)) view.setUint32(24, random.u32() & 0xffff, true);
    if (row.name.startsWith('CMPXCHG')) this.equalAccumulator(random, row, item, view, before);
    if (TAKES_SELECTOR.has(row.name) || row.letters.includes('Sw')) {
      const size = row.letters.includes('Mp') ? random.pick([2, 4, 8]) : 0;
      view.setUint16(before + size, random.pick(ALL_SELECTORS), true);
      if (size >= 4 && random.chance(60)) view.setBigUint64(before, (view.getBigUint64(before, true) & ~((1n << BigInt(size * 8)) - 1n)) | regionNamed('code').address + 0x123n, true);
    }
    item.setPatch(0, BigInt.asUintN(64, target - BigInt(before)), data);
    const stack = new Uint8Array(PATCH2_LIMIT);
    if (second === STACK) this.stackBytes(random, row, stack);
    else if (random.chance(50)) stack.set(data.subarray(before, before + 32), 4);
    else stack.set(operandBytes(random, PATCH2_LIMIT));
    const pointer = localSegment(item.selector('ss'))?.wide === false ? item.gpr(4) & 0xffffn : item.gpr(4);
    item.setPatch(1, BigInt.asUintN(64, (second === STACK ? pointer + stackBase : second) - 4n), stack);
  }

  /** Return addresses, images of flags, selectors, numbers. */
  private stackBytes(random: Random, row: Row, bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer);
    const size = random.pick([2, 4, 8, 8]);
    const code = regionNamed('code').address + BigInt(random.below(2 * PAGE));
    for (let at = 4; at + 8 <= bytes.length; at += size) {
      const value = random.chance(40) ? integer(random) : random.chance(60) ? code : BigInt(random.u32() & 0x25_4fff);
      if (size === 8) view.setBigUint64(at, value, true);
      else if (size === 4) view.setUint32(at, Number(value & 0xffff_ffffn), true);
      else view.setUint16(at, Number(value & 0xffffn), true);
    }
    if (TAKES_SELECTOR.has(row.name)) {
      const put = (at: number, value: bigint): void => {
        if (size === 8) view.setBigUint64(4 + at * 8, value, true);
        else if (size === 4) view.setUint32(4 + at * 4, Number(value & 0xffff_ffffn), true);
        else view.setUint16(4 + at * 2, Number(value & 0xffffn), true);
      };
      if (row.name.startsWith('POP')) put(0, BigInt(random.pick(ALL_SELECTORS)));
      else {
        if (random.chance(80)) put(0, code);
        put(1, BigInt(random.chance(60) ? random.pick(CODE_SELECTORS) : random.pick(ALL_SELECTORS)));
        if (row.name === 'IRET') {
          put(2, BigInt((random.u32() & 0x24_4ed5) | 2));
          put(3, stackAddress(random));
          put(4, BigInt(random.chance(80) ? USER_DS : random.pick(ALL_SELECTORS)));
        }
      }
    }
    if (random.chance(10)) view.setUint32(4, float32(random), true);
    if (random.chance(5)) view.setBigUint64(4, float64(random), true);
  }

  /** Half of the compare-and-exchanges find what they compare with. */
  private equalAccumulator(random: Random, row: Row, item: Case, view: DataView, before: number): void {
    if (random.chance(50)) return;
    if (row.name === 'CMPXCHG') item.setGpr(0, view.getBigUint64(before, true) & (item.codeSize === 64 ? ~0n : 0xffff_ffffn));
    else if (row.name === 'CMPXCHG8B') {
      item.setGpr(0, BigInt(view.getUint32(before, true)));
      item.setGpr(2, BigInt(view.getUint32(before + 4, true)));
    } else {
      item.setGpr(0, view.getBigUint64(before, true));
      item.setGpr(2, view.getBigUint64(before + 8, true));
    }
  }
}
