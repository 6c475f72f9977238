/** What the processor asks of root mode, and of whoever knows its instructions: the functions that the compiled helpers import. */
import { ARGUMENTS } from './layout.ts';

/** Basic exit reasons that this processor raises. @sdm 3D appendix C */
export const exitReason = {
  externalInterrupt: 1, tripleFault: 2, interruptWindow: 7, nmiWindow: 8, cpuid: 10, hlt: 12, invlpg: 14, vmcall: 18, controlRegister: 28, io: 30, rdmsr: 31, wrmsr: 32,
  mwait: 36, pause: 40, eptViolation: 48, preemptionTimer: 52,
} as const;

/** What the processor asks of root mode while an instruction waits for its data. */
export interface ProcessorHost {
  mmioRead(gpaLow: number, gpaHigh: number, size: number): number;
  /** Upper half of the last 8-byte read. */
  mmioReadHigh(): number;
  mmioWrite(gpaLow: number, gpaHigh: number, size: number, low: number, high: number): void;
  portRead(port: number, size: number): number;
  portWrite(port: number, size: number, value: number): void;
  /** Time-stamp counter before the VMCS offset. */
  timestamp(): number;
  random(): number;
  /** Runs work that takes no time of the guest's: decoding, compiling. */
  aside?<T>(work: () => T): T;
  /** While exits are traced: a nested guest has left for its hypervisor, or goes on. */
  nestedSwitch?(left: boolean): void;
  /** Fetches a page (gpa >> 12) that root mode's EPT withholds. */
  fetchPage?(page: number): void;
  /** Keeps the content of a page that is HISTORY_PENDING before it is written, and makes it HISTORY_WRITTEN. */
  preservePage?(page: number): void;
  /** For processors with VMX. */
  readonly vmx?: VmxHost;
}

/** What VM entries and exits of a hypervisor inside the machine ask of root mode. */
export interface VmxHost {
  /** Reads an MSR that root mode keeps; null for #GP(0). */
  msrRead(index: number): readonly [low: number, high: number] | null;
  /** False asks for #GP(0). */
  msrWrite(index: number, low: number, high: number): boolean;
  /** VMCALL; false when the guest sees no hypervisor to call. */
  hypercall(): boolean;
  /** Runs groups of VM-entry checks on the current VMCS (core/vmx/entry.ts). */
  entryChecks(groups: number): number;
}

/** What is known of instructions outside of the helpers. */
export interface InstructionHost {
  /** VM-exit instruction information of the instruction at RIP, with its displacement. */
  operands(): { readonly information: number; readonly displacement: bigint };
  /** Bytes of the instruction at RIP. */
  length(): number;
  /** Whether the instruction at RIP has an operand on the stack. */
  onStack(): boolean;
  /** Decodes code at a guest-physical address; the record that stands for it, 0: it cannot be. */
  decode(gpa: number, descriptor: number): number;
}

/** VM-instruction error of a VM entry that fails its first checks. */
const INVALID_CONTROLS = 7;

/** As the helpers declare them (core/cpu/assembly/host.ts): numbers are 32 bits, of either sign. */
export function helperImports(view: DataView, host: ProcessorHost, instructions: InstructionHost): WebAssembly.ModuleImports {
  return {
    mmioRead: (low: number, high: number, size: number) => host.mmioRead(low >>> 0, high >>> 0, size),
    mmioReadHigh: () => host.mmioReadHigh(),
    mmioWrite: (low: number, high: number, size: number, valueLow: number, valueHigh: number) => host.mmioWrite(low >>> 0, high >>> 0, size, valueLow >>> 0, valueHigh >>> 0),
    portRead: (port: number, size: number) => host.portRead(port, size),
    portWrite: (port: number, size: number, value: number) => host.portWrite(port, size, value >>> 0),
    timestamp: () => host.timestamp(),
    random: () => host.random(),
    nestedSwitch: (left: number) => host.nestedSwitch?.(left !== 0),
    fetchPage: (page: number) => host.fetchPage?.(page >>> 0),
    preservePage: (page: number) => host.preservePage?.(page >>> 0),
    msrRead: (index: number) => {
      const value = host.vmx?.msrRead(index >>> 0);
      if (!value) return 0;
      view.setUint32(ARGUMENTS, value[0], true);
      view.setUint32(ARGUMENTS + 4, value[1], true);
      return 1;
    },
    msrWrite: (index: number, low: number, high: number) => (host.vmx?.msrWrite(index >>> 0, low >>> 0, high >>> 0) ? 1 : 0),
    hypercall: () => (host.vmx?.hypercall() === true ? 1 : 0),
    vmEntryChecks: (groups: number) => host.vmx?.entryChecks(groups) ?? INVALID_CONTROLS,
    instructionInformation: () => {
      const { information, displacement } = instructions.operands();
      view.setBigUint64(ARGUMENTS, displacement, true);
      return information;
    },
    instructionLength: () => instructions.length(),
    stackOperand: () => (instructions.onStack() ? 1 : 0),
    decode: (gpa: number, descriptor: number) => instructions.decode(gpa >>> 0, descriptor >>> 0),
  };
}
