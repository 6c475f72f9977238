/** Operands as people write them: registers by name, memory references, labels. Shared by the assembler and the disassembler. */

export type RegisterClass = 'general' | 'high' | 'segment' | 'control' | 'debug' | 'xmm' | 'mmx' | 'st';

export interface Register {
  readonly kind: 'register';
  readonly class: RegisterClass;
  /** Number in the encoding; AH to BH are 0 to 3 of class `high`. */
  readonly number: number;
  /** In bits. */
  readonly width: number;
  readonly name: string;
}

export interface Memory {
  readonly kind: 'memory';
  readonly base: Register | null;
  readonly index: Register | null;
  readonly scale: 1 | 2 | 4 | 8;
  readonly displacement: number;
  /** Its address is added: RIP-relative in 64-bit code when there are no registers. */
  readonly label: string | null;
  /** Bits of the operand, when the other operands do not tell. */
  readonly size: number | null;
  /** Override, when it is not the segment that the address implies. */
  readonly segment: Register | null;
}

/** A far pointer in the instruction. */
export interface Far {
  readonly kind: 'far';
  readonly selector: number;
  readonly offset: number;
}

/** The address of a label as an immediate. */
export interface LabelOffset {
  readonly kind: 'offset';
  readonly label: string;
  readonly addend: number;
}

/** A string is a label; a number is an immediate, or a branch's target address. */
export type Operand = Register | Memory | Far | LabelOffset | number | bigint | string;

function registers<const N extends string>(kind: RegisterClass, width: number, names: readonly N[]): { readonly [K in N]: Register } {
  const entries = names.map((name, number): [N, Register] => [name, { kind: 'register', class: kind, number, width, name }]);
  return Object.fromEntries(entries) as { [K in N]: Register };
}

const general64 = registers('general', 64, [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
]);
const general32 = registers('general', 32, [
  'eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', 'r8d', 'r9d', 'r10d', 'r11d', 'r12d', 'r13d', 'r14d', 'r15d',
]);
const general16 = registers('general', 16, [
  'ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di', 'r8w', 'r9w', 'r10w', 'r11w', 'r12w', 'r13w', 'r14w', 'r15w',
]);
const general8 = registers('general', 8, [
  'al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil', 'r8b', 'r9b', 'r10b', 'r11b', 'r12b', 'r13b', 'r14b', 'r15b',
]);
const high = registers('high', 8, ['ah', 'ch', 'dh', 'bh']);
const segment = registers('segment', 16, ['es', 'cs', 'ss', 'ds', 'fs', 'gs']);
const control = registers('control', 64, ['cr0', 'cr1', 'cr2', 'cr3', 'cr4', 'cr5', 'cr6', 'cr7', 'cr8']);
const debug = registers('debug', 64, ['dr0', 'dr1', 'dr2', 'dr3', 'dr4', 'dr5', 'dr6', 'dr7']);
const xmm = registers('xmm', 128, [
  'xmm0', 'xmm1', 'xmm2', 'xmm3', 'xmm4', 'xmm5', 'xmm6', 'xmm7', 'xmm8', 'xmm9', 'xmm10', 'xmm11', 'xmm12', 'xmm13', 'xmm14', 'xmm15',
]);
const mmx = registers('mmx', 64, ['mm0', 'mm1', 'mm2', 'mm3', 'mm4', 'mm5', 'mm6', 'mm7']);
const st = registers('st', 80, ['st0', 'st1', 'st2', 'st3', 'st4', 'st5', 'st6', 'st7']);

/** Every register by its name. */
export const register = {
  ...general64, ...general32, ...general16, ...general8, ...high, ...segment, ...control, ...debug, ...xmm, ...mmx, ...st,
} as const;

const BY_CLASS: Readonly<Record<string, readonly Register[]>> = {
  general8: Object.values(general8), general16: Object.values(general16),
  general32: Object.values(general32), general64: Object.values(general64),
  high: Object.values(high), segment: Object.values(segment), control: Object.values(control), debug: Object.values(debug),
  xmm: Object.values(xmm), mmx: Object.values(mmx), st: Object.values(st),
};

/** The register of a class; `width` matters for general registers alone. Undefined when there is none of that number. */
export function registerOf(kind: RegisterClass, number: number, width = 64): Register | undefined {
  return BY_CLASS[kind === 'general' ? `general${width}` : kind]?.[number];
}

const nothing = { kind: 'memory', base: null, index: null, scale: 1, displacement: 0, label: null, size: null, segment: null } as const;

/** `[base + displacement]`. */
export function mem(base: Register, displacement = 0): Memory {
  return { ...nothing, base, displacement };
}

/** `[base + index * scale + displacement]`. */
export function indexed(base: Register | null, index: Register, scale: 1 | 2 | 4 | 8 = 1, displacement = 0): Memory {
  return { ...nothing, base, index, scale, displacement };
}

/** Memory at an absolute address. */
export function absolute(displacement: number): Memory {
  return { ...nothing, displacement };
}

/** Memory at a label. */
export function at(label: string, displacement = 0): Memory {
  return { ...nothing, label, displacement };
}

/** A label's address as an immediate. */
export function offsetOf(label: string, addend = 0): LabelOffset {
  return { kind: 'offset', label, addend };
}

export function far(selector: number, offset: number): Far {
  return { kind: 'far', selector, offset };
}

const sized = (size: number) => (memory: Memory): Memory => ({ ...memory, size });
export const byte = sized(8);
export const word = sized(16);
export const dword = sized(32);
export const qword = sized(64);
export const tbyte = sized(80);
export const xmmword = sized(128);

/** A memory operand with a segment override. */
export function inSegment(over: Register, memory: Memory): Memory {
  return { ...memory, segment: over };
}
