/** What is not tested against the native processor, each with its reason. */
import type { Row } from '../../../core/isa/rows.ts';
import type { Maker } from '../maker.ts';
import { hostMaker } from '../maker.ts';

interface Exclusion {
  /** On whose processors; on all when there is none. */
  readonly on?: Maker;
  readonly names: readonly string[];
  /** Opcode, when not all rows of the name are meant. */
  readonly opcode?: RegExp;
  readonly reason: string;
}

export const EXCLUSIONS: readonly Exclusion[] = [
  { names: ['CPUID', 'RDPID', 'RDTSC', 'RDTSCP', 'RDPMC'], reason: 'the result is the machine\'s own' },
  { names: ['RDRAND', 'RDSEED'], reason: 'the result is random' },
  { names: ['SYSCALL', 'SYSENTER'], reason: 'enters the host\'s kernel, which answers as a system call' },
  { names: ['SGDT', 'SIDT', 'SLDT', 'STR', 'SMSW'], reason: 'with CR4.UMIP Linux emulates them for programs' },
  { names: ['XGETBV', 'RDPKRU', 'WRPKRU'], reason: 'XCR0 and PKRU are the host kernel\'s' },
  { names: ['XSAVE', 'XSAVEOPT', 'XSAVEC', 'XRSTOR'], reason: 'the host\'s XCR0 has more components, and its XINUSE is not the case\'s' },
  { on: 'AMD', names: ['RCPPS', 'RCPSS', 'RSQRTPS', 'RSQRTSS'], reason: 'approximations: each manufacturer has its own within the error that the manual allows' },
];

const reasons = new Map<string, readonly Exclusion[]>();
const here = EXCLUSIONS.filter(({ on }) => on === undefined || on === hostMaker);
for (const exclusion of here) for (const name of exclusion.names) reasons.set(name, [...(reasons.get(name) ?? []), exclusion]);

/** Linux's names of features, where they differ from the rows'. */
const FEATURE_NAMES: Record<string, readonly string[]> = {
  sse3: ['pni'], lzcnt: ['abm'], 'sse4.1': ['sse4_1'], 'sse4.2': ['sse4_2'], sha: ['sha_ni'], cmpxchg16b: ['cx16'], pclmul: ['pclmulqdq'],
};

/** Why a row is not tested on a host with these features; empty when it is. */
export function exclusionOf(row: Row, features: ReadonlySet<string>): string {
  const found = (reasons.get(row.name) ?? []).find(exclusion => !exclusion.opcode || exclusion.opcode.test(row.opcode));
  if (found) return found.reason;
  if (row.feature !== undefined && ![row.feature, ...(FEATURE_NAMES[row.feature] ?? [])].some(name => features.has(name))) return `the host lacks ${row.feature}`;
  return '';
}

interface Quirk {
  /** Whether the encoding is one that manufacturers treat differently. */
  readonly applies: (row: Row, codeSize: number, code: Uint8Array) => boolean;
  /** Whose processors; of all when there is none. */
  readonly on?: Maker;
  readonly reason: string;
}

/** Encodings that are not tested, because their manufacturer defines them otherwise than the SDM. */
export const QUIRKS: readonly Quirk[] = [
  {
    applies: (row, _codeSize, code) => row.name.startsWith('LOOP') && (code.includes(0xf2) || code.includes(0xf3)),
    on: 'AMD',
    reason: 'LOOP with a repeat prefix, which the manual reserves: AMD takes it for the condition',
  },
  {
    applies: (_row, _codeSize, code) => code.includes(0xf0) && code.some((byte, i) => byte === 0x0f && code[i + 1] === 0x00),
    on: 'AMD',
    reason: 'LOCK before VERR and VERW: AMD ignores it',
  },
  {
    applies: (_row, _codeSize, code) => code.includes(0xf0) && code.some((byte, i) => byte === 0x0f && (code[i + 1]! & 0xfd) === 0x20),
    on: 'AMD',
    reason: 'LOCK before MOV of CR0: means CR8 to AMD',
  },
  {
    applies: (row, codeSize, code) => codeSize === 64 && ['LSS', 'LFS', 'LGS', 'JMPF', 'CALLF'].includes(row.name) && code.some(byte => byte >= 0x48 && byte <= 0x4f),
    on: 'AMD',
    reason: 'far pointers with REX.W: AMD has no 64-bit offsets there',
  },
  {
    applies: row => row.opcode === '0F 0D',
    on: 'AMD',
    reason: 'PREFETCHW of a register: AMD defines #UD',
  },
  {
    on: 'AMD',
    applies: (row, codeSize, code) => codeSize === 64 && ['PAUSE', 'XCHG'].includes(row.name) && code.includes(0xf3) && code[code.length - 1] === 0x90 && (code[code.length - 2]! & 0xf1) === 0x41,
    reason: 'PAUSE with REX.B: XCHG with R8 to AMD',
  },
  {
    on: 'AMD',
    applies: row => row.name === 'ESC',
    reason: 'x87 encodings that the manuals do not list: ours are Intel\'s',
  },
  {
    applies: (row, codeSize, code) => codeSize === 64 && row.has.f64 && code.includes(0x66),
    on: 'AMD',
    reason: 'near branches with an operand-size prefix in 64-bit code: AMD truncates to 16 bits, Intel ignores the prefix',
  },
];

/** The quirk of this host's processor that an encoding meets. */
export function quirkOf(row: Row, codeSize: number, code: Uint8Array): Quirk | undefined {
  return QUIRKS.find(({ on, applies }) => (on === undefined || on === hostMaker) && applies(row, codeSize, code));
}
