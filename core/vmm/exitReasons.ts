/** Every basic exit reason by name, and what its qualification says, for people. @sdm 3D appendix C; 3C 28.2.1 */

export const EXIT_REASONS: readonly (readonly [number, string])[] = [
  [0, 'exception-or-nmi'], [1, 'external-interrupt'], [2, 'triple-fault'], [3, 'init-signal'], [4, 'sipi'], [5, 'io-smi'], [6, 'other-smi'],
  [7, 'interrupt-window'], [8, 'nmi-window'], [9, 'task-switch'], [10, 'cpuid'], [11, 'getsec'], [12, 'hlt'], [13, 'invd'], [14, 'invlpg'],
  [15, 'rdpmc'], [16, 'rdtsc'], [17, 'rsm'], [18, 'vmcall'], [19, 'vmclear'], [20, 'vmlaunch'], [21, 'vmptrld'], [22, 'vmptrst'], [23, 'vmread'],
  [24, 'vmresume'], [25, 'vmwrite'], [26, 'vmxoff'], [27, 'vmxon'], [28, 'control-register'], [29, 'mov-dr'], [30, 'io-instruction'],
  [31, 'rdmsr'], [32, 'wrmsr'], [33, 'entry-failure-guest-state'], [34, 'entry-failure-msr-loading'], [36, 'mwait'], [37, 'monitor-trap-flag'],
  [39, 'monitor'], [40, 'pause'], [41, 'entry-failure-machine-check'], [43, 'tpr-below-threshold'], [44, 'apic-access'], [45, 'virtualized-eoi'],
  [46, 'gdtr-idtr-access'], [47, 'ldtr-tr-access'], [48, 'ept-violation'], [49, 'ept-misconfiguration'], [50, 'invept'], [51, 'rdtscp'],
  [52, 'preemption-timer'], [53, 'invvpid'], [54, 'wbinvd'], [55, 'xsetbv'], [56, 'apic-write'], [57, 'rdrand'], [58, 'invpcid'], [59, 'vmfunc'],
  [60, 'encls'], [61, 'rdseed'], [62, 'pml-full'], [63, 'xsaves'], [64, 'xrstors'], [66, 'spp-event'], [67, 'umwait'], [68, 'tpause'], [69, 'loadiwkey'],
];
const names = new Map(EXIT_REASONS);

export function exitReasonName(reason: number): string {
  return names.get(reason) ?? `reason-${reason}`;
}

/** A run of bits of a qualification; `words` names its values. */
interface QualificationField {
  readonly name: string;
  readonly bit: number;
  readonly width: number;
  readonly words?: readonly string[];
  /** Printed in hexadecimal. */
  readonly hex?: boolean;
}

const REGISTERS = ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'R8', 'R9', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15'];
const NO_YES = ['no', 'yes'];
const flag = (name: string, bit: number): QualificationField => ({ name, bit, width: 1, words: NO_YES });

/** @sdm 3C tables 28-1 to 28-7 */
const QUALIFICATIONS: ReadonlyMap<number, readonly QualificationField[]> = new Map([
  [0, [flag('B0', 0), flag('B1', 1), flag('B2', 2), flag('B3', 3), flag('debug register accessed', 13), flag('single step', 14)]],
  [9, [
    { name: 'selector', bit: 0, width: 16, hex: true }, { name: 'source', bit: 30, width: 2, words: ['CALL', 'IRET', 'JMP', 'task gate'] },
  ]],
  [28, [
    { name: 'register', bit: 0, width: 4, words: ['CR0', 'CR1', 'CR2', 'CR3', 'CR4', 'CR5', 'CR6', 'CR7', 'CR8'] },
    { name: 'access', bit: 4, width: 2, words: ['MOV to CR', 'MOV from CR', 'CLTS', 'LMSW'] }, { name: 'operand', bit: 8, width: 4, words: REGISTERS },
    { name: 'LMSW source', bit: 16, width: 16, hex: true },
  ]],
  [29, [
    { name: 'register', bit: 0, width: 3, words: ['DR0', 'DR1', 'DR2', 'DR3', 'DR4', 'DR5', 'DR6', 'DR7'] },
    { name: 'direction', bit: 4, width: 1, words: ['MOV to DR', 'MOV from DR'] }, { name: 'operand', bit: 8, width: 4, words: REGISTERS },
  ]],
  [30, [
    { name: 'size', bit: 0, width: 3, words: ['1 byte', '2 bytes', '', '4 bytes'] }, { name: 'direction', bit: 3, width: 1, words: ['OUT', 'IN'] },
    flag('string', 4), flag('REP', 5), { name: 'operand', bit: 6, width: 1, words: ['DX', 'immediate'] }, { name: 'port', bit: 16, width: 16, hex: true },
  ]],
  [44, [
    { name: 'offset', bit: 0, width: 12, hex: true },
    { name: 'access', bit: 12, width: 4, words: ['data read', 'data write', 'instruction fetch', 'event delivery'] },
  ]],
  [45, [{ name: 'vector', bit: 0, width: 8, hex: true }]],
  [48, [
    flag('read', 0), flag('write', 1), flag('fetch', 2), flag('readable', 3), flag('writable', 4), flag('executable', 5), flag('executable for user', 6),
    flag('linear address valid', 7), { name: 'part', bit: 8, width: 1, words: ['page walk', 'access'] }, flag('NMI unblocking', 12),
  ]],
  [56, [{ name: 'offset', bit: 0, width: 12, hex: true }]],
]);

export interface QualificationValue {
  readonly name: string;
  readonly value: string;
}

/** The fields of a qualification by name; none for reasons that define none. */
export function decodeQualification(reason: number, qualification: bigint): QualificationValue[] {
  const fields = QUALIFICATIONS.get(reason) ?? [];
  return fields.map(({ name, bit, width, words, hex }) => {
    const value = Number((qualification >> BigInt(bit)) & ((1n << BigInt(width)) - 1n));
    return { name, value: words?.[value] ?? (hex ? `0x${value.toString(16)}` : String(value)) };
  });
}
