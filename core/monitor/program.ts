/**
 * What the monitor's rooms write with: the assembler, text that is pooled, variables behind the image, and calls of the console's routines.
 *
 * Calling convention of all routines: arguments in RDI and RSI, result in RAX; RBX, RBP and R12 to R15 are kept, every other register may
 * change.
 */
import { Assembler } from '../isa/assembler.ts';
import type { Memory, Operand, Register } from '../isa/registers.ts';
import { at, offsetOf, qword, register } from '../isa/registers.ts';

const { rdi, rsi } = register;

/** A piece of a line: text, or a value that is printed when the program runs. Values lie in kept registers or in memory. */
export type Piece =
  | string
  | { readonly decimal: Operand; readonly width?: number }
  /** In hundredths: 1234 is printed as 12.34. */
  | { readonly hundredths: Operand; readonly width?: number }
  | { readonly hex: Operand; readonly digits: number }
  /** The address of zero-terminated text. */
  | { readonly text: Operand }
  /** Blanks up to this column. */
  | { readonly column: number };

/** Where the variables begin: behind the image. They are zero at the start, as all of the machine's memory is. */
const VARIABLES = 'variables';

export class Program {
  readonly a: Assembler;
  private readonly texts = new Map<string, string>();
  private readonly places = new Map<string, number>();
  private variableBytes = 0;
  private routine = '';

  constructor(origin: number) {
    this.a = new Assembler(64, origin);
  }

  emit(name: string, ...operands: Operand[]): this {
    this.a.emit(name, ...operands.map(operand => (typeof operand === 'string' ? this.scoped(operand) : operand)));
    return this;
  }

  /** Binds a label. One that begins with a point belongs to the routine around it: the last label without a point. */
  label(name: string): this {
    if (!name.startsWith('.')) this.routine = name;
    this.a.label(this.scoped(name));
    return this;
  }

  private scoped(label: string): string {
    return label.startsWith('.') ? this.routine + label : label;
  }

  /** Sets variables aside; the first use of a name decides its size. */
  reserve(name: string, bytes: number): void {
    if (this.places.has(name)) throw new Error(`the variable '${name}' exists already`);
    this.variableBytes = Math.ceil(this.variableBytes / 16) * 16;
    this.places.set(name, this.variableBytes);
    this.variableBytes += bytes;
  }

  /** The memory of a variable, as 64 bits unless it is sized otherwise. */
  variable(name: string, offset = 0): Memory {
    const place = this.places.get(name);
    if (place === undefined) throw new Error(`there is no variable '${name}'`);
    return qword(at(VARIABLES, place + offset));
  }

  /** The address of a variable as an immediate. */
  addressOf(name: string, offset = 0): Operand {
    const place = this.places.get(name);
    if (place === undefined) throw new Error(`there is no variable '${name}'`);
    return offsetOf(VARIABLES, place + offset);
  }

  /** The label of zero-terminated text; equal texts share one place. */
  text(text: string): string {
    const known = this.texts.get(text);
    if (known !== undefined) return known;
    const label = `text ${this.texts.size}`;
    this.texts.set(text, label);
    return label;
  }

  call(routine: string, first?: Operand, second?: Operand): this {
    this.argument(rdi, first);
    this.argument(rsi, second);
    return this.emit('CALL', routine);
  }

  private argument(target: Register, value: Operand | undefined): void {
    if (value === undefined || value === target) return;
    const isRegister = typeof value === 'object' && value.kind === 'register';
    if (isRegister && value.width !== 64) throw new Error(`${value.name}: arguments are 64 bits wide`);
    if (typeof value === 'number' && value >= 0 && value <= 0xffffffff) this.emit('MOV', register[target === rdi ? 'edi' : 'esi'], value);
    else this.emit('MOV', target, value);
  }

  /** Prints pieces in order. */
  say(...pieces: Piece[]): this {
    for (const piece of pieces) {
      if (typeof piece === 'string') this.emit('LEA', rdi, at(this.text(piece))).emit('CALL', 'putText');
      else if ('decimal' in piece) this.call('putDecimal', piece.decimal, piece.width ?? 0);
      else if ('hundredths' in piece) this.call('putHundredths', piece.hundredths, piece.width ?? 0);
      else if ('hex' in piece) this.call('putHex', piece.hex, piece.digits);
      else if ('text' in piece) this.call('putText', piece.text);
      else this.call('padTo', piece.column);
    }
    return this;
  }

  line(...pieces: Piece[]): this {
    return this.say(...pieces, '\n');
  }

  /** The image; its variables follow it. */
  finish(): { readonly image: Uint8Array; readonly end: number } {
    for (const [text, label] of this.texts) this.a.label(label).data(`${text}\0`);
    this.a.align(16, 0).label(VARIABLES);
    const image = this.a.finish();
    return { image, end: this.a.addressOf(VARIABLES) + this.variableBytes };
  }
}
