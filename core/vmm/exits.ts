/** Names of basic exit reasons and the layout of their qualifications. @sdm 3D appendix C; 3C 28.2.1 */
import { exitReason } from '../cpu/processor.ts';

export const EXIT_NAMES: Readonly<Record<number, string>> = {
  [exitReason.externalInterrupt]: 'external-interrupt', [exitReason.tripleFault]: 'triple-fault', [exitReason.interruptWindow]: 'interrupt-window',
  [exitReason.nmiWindow]: 'nmi-window', [exitReason.cpuid]: 'cpuid', [exitReason.hlt]: 'hlt', [exitReason.controlRegister]: 'control-register',
  [exitReason.io]: 'io-instruction', [exitReason.rdmsr]: 'rdmsr', [exitReason.wrmsr]: 'wrmsr', [exitReason.mwait]: 'mwait',
  [exitReason.eptViolation]: 'ept-violation', [exitReason.preemptionTimer]: 'preemption-timer',
};

/** Qualification of an EPT violation: the access, bit 7 (the linear address is valid), bit 8 (it was translated). @sdm 3C table 28-7 */
export const eptQualification = { read: 0x181, write: 0x182 } as const;

/** Qualification of an I/O exit: size - 1 in bits 2:0, bit 3 = in, bit 4 = string, the port in bits 31:16. @sdm 3C table 28-5 */
export function ioQualification(port: number, size: number, input: boolean, string: boolean): number {
  return ((port << 16) | (string ? 0x10 : 0) | (input ? 8 : 0) | (size - 1)) >>> 0;
}
