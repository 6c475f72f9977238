/**
 * One row an opcode. The rows are data: the decoder, the interpreter, the assembler, the disassembler, the test generator and the
 * coverage table are all made from them.
 *
 * `opcode`: `[VEX] [NP|66|F3|F2] [W0|W1] [0F [38|3A]] XX[+r|+cc] [/digit | =ModRM]`. Without a mandatory prefix, 66 is the operand-size prefix.
 * With VEX, the letter B is the general register in VEX.vvvv, and VEX.L must be 0.
 * `operands`: the SDM's letters (SDM 2D, A.2), comma separated; see operandKinds.
 * `flags`, separated by blanks:
 *   lock     LOCK is allowed (with a memory destination)
 *   cpl0     #GP(0) unless CPL is 0
 *   ud3      #UD unless CPL is 0
 *   prot     #UD in real and virtual-8086 mode
 *   i64 o64  not valid in 64-bit code; valid there only
 *   d64 f64  operand size defaults to 64 bits in 64-bit code; is always 64 there
 *   mem reg  the ModRM operand must be memory; must be a register
 *   anymod   the ModRM operand is a register whatever mod says (control and debug registers: SDM 2B, MOV)
 *   rep      a repeat prefix selects another form
 *   norep    not valid with a repeat prefix
 *   norexb   another instruction with REX.B
 *   addr     the address size selects another form even without a memory operand
 *   size     the operand size selects another form even without a sized operand
 *   x87 mmx sse xsave   availability checks (#UD, #NM) before anything else; x87 also puts ModRM and segment number into aux
 *   modrm     there is a ModRM byte although no operand says so
 *   rexw      REX.W selects another form although no operand says so
 *   hot      a case of the interpreter's switch
 *   ends     ends a run of decoded instructions (control goes elsewhere, or translations may change)
 *   selectors  the immediate holds four 2-bit selectors; the record gets each as a pair of byte indexes: core/isa/selectors.ts
 *   relative the immediate is a branch displacement
 */
import type { Slot, Width } from './ir.ts';
import type { Definition } from './ops.ts';
import type { Form } from './values.ts';
import type { OperandKind } from './operands.ts';

/** Written out, as V8 looks slowly into objects that were made from a list. */
const flagsWhere = (is: (flag: string) => boolean) => ({
  lock: is('lock'), cpl0: is('cpl0'), ud3: is('ud3'), prot: is('prot'), i64: is('i64'), o64: is('o64'), d64: is('d64'), f64: is('f64'), mem: is('mem'), reg: is('reg'),
  anymod: is('anymod'), xreg: is('xreg'), nomem: is('nomem'), rep: is('rep'), norep: is('norep'), norexb: is('norexb'), addr: is('addr'), size: is('size'), x87: is('x87'),
  mmx: is('mmx'), sse: is('sse'), xsave: is('xsave'), modrm: is('modrm'), rexw: is('rexw'), hot: is('hot'), ends: is('ends'), selectors: is('selectors'),
  relative: is('relative'), string: is('string'),
});
export type RowFlags = Readonly<ReturnType<typeof flagsWhere>>;
const FLAGS: ReadonlySet<string> = new Set(Object.keys(flagsWhere(() => false)));

export interface RowSpec {
  readonly opcode: string;
  readonly name: string;
  readonly operands: string;
  readonly flags: string;
  readonly define: Definition;
  /** CPUID feature that the instruction needs, as named in core/cpu/features.ts. */
  readonly feature?: string;
  /** Status flags that the manual leaves undefined, as RFLAGS bits; the differential tests ignore them. */
  readonly undefinedFlags?: number;
}

export interface Row extends RowSpec {
  readonly id: number;
  readonly map: 0 | 1 | 2 | 3;
  readonly byte: number;
  readonly prefix: 'none' | 'NP' | '66' | 'F3' | 'F2';
  readonly w: -1 | 0 | 1;
  /** ModRM.reg that the row wants, or -1. */
  readonly digit: number;
  /** Whole ModRM byte that the row wants, or -1. */
  readonly modrm: number;
  readonly letters: readonly string[];
  readonly has: RowFlags;
  /** Register or condition number from the opcode's low bits, or -1. */
  readonly low: number;
  readonly hasModrm: boolean;
  readonly sized: boolean;
  /** Whether REX.W selects another form beyond the operand size. */
  readonly wide: boolean;
  readonly vex: boolean;
  /** Whether VEX.vvvv names an operand. */
  readonly usesVvvv: boolean;
}

export function row(opcode: string, name: string, operands: string, flags: string, define: Definition, extra: { feature?: string; undefinedFlags?: number } = {}): RowSpec {
  return { opcode, name, operands, flags, define, ...extra };
}

function flagsOf(text: string): RowFlags {
  const words = text.split(' ').filter(word => word !== '');
  const unknown = words.find(word => !FLAGS.has(word));
  if (unknown !== undefined) throw new Error(`unknown flag '${unknown}'`);
  return flagsWhere(flag => words.includes(flag));
}

const MODRM_LETTERS = /^[EGMNPQUVWRSCD]/;

/** Parses specifications into rows, expanding `+r` and `+cc`. */
export function parseRows(specs: readonly RowSpec[]): Row[] {
  const rows: Row[] = [];
  for (const spec of specs) {
    const words = spec.opcode.split(' ');
    let prefix: Row['prefix'] = 'none';
    let w: Row['w'] = -1;
    let map: Row['map'] = 0;
    let digit = -1;
    let modrm = -1;
    let byte = -1;
    let plus = '';
    const vex = words[0] === 'VEX';
    if (vex) words.shift();
    if (words[0] === 'NP' || words[0] === '66' || words[0] === 'F3' || words[0] === 'F2') {
      if (words.length > 1 && !/^[/=]/.test(words[1]!)) prefix = words.shift() as Row['prefix'];
    }
    for (const word of words) {
      if (word === 'W0') w = 0;
      else if (word === 'W1') w = 1;
      else if (word.startsWith('/')) digit = Number(word.slice(1));
      else if (word.startsWith('=')) modrm = parseInt(word.slice(1), 16);
      else if (word === '0F' && map === 0 && byte < 0) map = 1;
      else if ((word === '38' || word === '3A') && map === 1 && byte < 0) map = word === '38' ? 2 : 3;
      else {
        const [hex, suffix] = word.split('+');
        byte = parseInt(hex!, 16);
        plus = suffix ?? '';
      }
    }
    if (byte < 0 || Number.isNaN(byte)) throw new Error(`bad opcode '${spec.opcode}'`);
    const letters = spec.operands === '' ? [] : spec.operands.split(',');
    const has = flagsOf(spec.flags);
    const hasModrm = digit >= 0 || modrm >= 0 || has.modrm || letters.some(letter => MODRM_LETTERS.test(letter) && letter.length > 1 && !/^(DX|CL|ES|CS|SS|DS|FS|GS)$/.test(letter));
    const sized = has.size || letters.some(letter => /^[A-Zr].*[vzy]$|^rAX$|^Ibs$|^Ap$|^Mp$|^Ma$/.test(letter));
    const wide = has.rexw || letters.some(letter => letter.endsWith('y'));
    const count = plus === 'r' ? 8 : plus === 'cc' ? 16 : 1;
    for (let low = 0; low < count; low++) {
      rows.push({ ...spec, id: rows.length, map, byte: byte + low, prefix, w, digit, modrm, letters, has, low: plus ? low : -1, hasModrm, sized, wide, vex, usesVvvv: letters.includes('By') });
    }
  }
  return rows;
}

const FIXED: Record<string, Width> = { b: 8, w: 16, d: 32, q: 64, dq: 128, x: 128 };

function letterWidth(suffix: string, form: Pick<Form, 'opSize' | 'rexW'>): Width {
  if (suffix === 'v') return form.opSize;
  if (suffix === 'z') return form.opSize === 64 ? 32 : form.opSize;
  if (suffix === 'y') return form.rexW || form.opSize === 64 ? 64 : 32;
  return FIXED[suffix] ?? 64;
}

/** What each operand letter is in a form. The second letters are widths: b w d q dq v (operand size) z (at most 32) y (32 or 64). */
export function operandKinds(row: Row, form: Pick<Form, 'opSize' | 'rexW' | 'memory' | 'mode'>): OperandKind[] {
  return row.letters.map((letter): OperandKind => {
    const fixed = FIXED_REGISTERS[letter];
    if (fixed) return { type: 'register', slot: fixed.slot, width: fixed.width };
    if (letter === 'rAX') return { type: 'register', slot: 0, width: form.opSize };
    if (letter === '1') return { type: 'constant', width: 8, value: 1 };
    const kind = letter[0]!;
    const width = letterWidth(letter.slice(1), form);
    const rm: OperandKind = form.memory ? { type: 'memory', width } : { type: 'register', slot: 'E', width };
    switch (kind) {
      case 'E': case 'W': case 'Q': return rm;
      case 'M': case 'O': return { type: 'memory', width: width === 64 && letter === 'M' ? 8 : width };
      case 'G': case 'V': case 'P': case 'S': case 'C': case 'D': return { type: 'register', slot: 'G', width: kind === 'S' ? 16 : width };
      case 'B': return { type: 'register', slot: 'V', width };
      case 'R': case 'N': case 'U': case 'Z': return { type: 'register', slot: 'E', width };
      case 'I':
        if (letter === 'Ibs') return { type: 'immediate', width: form.opSize };
        return { type: 'immediate', width: letter === 'Iz' ? form.opSize : width };
      case 'J': case 'A': return { type: 'immediate', width: form.opSize };
      default: throw new Error(`${row.name}: unknown operand '${letter}'`);
    }
  });
}

const FIXED_REGISTERS: Record<string, { slot: Slot; width: Width }> = {
  AL: { slot: 0, width: 8 }, AX: { slot: 0, width: 16 }, CL: { slot: 8, width: 8 }, DX: { slot: 16, width: 16 },
};
