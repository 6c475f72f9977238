/** Checks of the VM-execution, VM-exit and VM-entry controls. @sdm 3C 27.2.1 */
import { group } from './check-row.ts';
import type { CheckRow } from './check-row.ts';
import type { VmcsView } from './view.ts';
import type { ControlWord } from './controls.ts';
import * as F from './fields.ts';
import * as C from './control-bits.ts';

const EXECUTION = '27.2.1.1';
const EXIT = '27.2.1.2';
const ENTRY = '27.2.1.3';

type Rest = Omit<CheckRow, 'id' | 'sdm' | 'phase' | 'group'>;
const row = (id: string, sdm: string, rest: Rest): CheckRow => ({ id, sdm, group: group.controls, phase: 'controls', ...rest });

const WORDS: Readonly<Record<ControlWord, number>> = {
  pin: F.PIN_BASED_CONTROLS, primary: F.PRIMARY_CONTROLS, secondary: F.SECONDARY_CONTROLS, exit: F.EXIT_CONTROLS, entry: F.ENTRY_CONTROLS,
};

/** The bits that must be 1 are, and no other than those allowed. */
function reserved(word: ControlWord, sdm: string): CheckRow {
  const field = WORDS[word];
  return row(`${word} controls: reserved bits`, sdm, {
    ...(word === 'secondary' ? { when: v => v.primary(C.PRIMARY_SECONDARY) } : {}),
    ok: v => {
      const { ones, allowed } = v.processor.settings[word];
      return (v.word(field) & ones) === (ones | 0) && (v.word(field) & ~allowed) === 0;
    },
    break: v => {
      if (word === 'secondary') v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_SECONDARY);
      v.set(field, word === 'secondary' ? 0x80000000 : 0);
    },
  });
}

/** A structure's address: 4 KB aligned, or as given, within the physical-address width. */
const address = (id: string, field: number, when: (v: VmcsView) => boolean, enable: (v: VmcsView) => void, bits = 12): CheckRow => row(id, EXECUTION, {
  when,
  ok: v => v.address(field, bits),
  break: v => {
    enable(v);
    v.set(field, 1);
  },
});

const enable = (bits: number) => (v: VmcsView): void => {
  v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_SECONDARY);
  v.raise(F.SECONDARY_CONTROLS, bits);
};
const uses = (bits: number) => (v: VmcsView): boolean => v.secondary(bits);

/** A secondary control that needs another one. */
const needs = (id: string, bit: number, other: (v: VmcsView) => boolean, without: (v: VmcsView) => void): CheckRow => row(id, EXECUTION, {
  when: uses(bit),
  ok: other,
  break: v => {
    enable(bit)(v);
    without(v);
  },
});

const tprShadow = (v: VmcsView): boolean => v.primary(C.PRIMARY_TPR_SHADOW);
const MEMORY_TYPES = [0n, 6n];

const executionChecks: readonly CheckRow[] = [
  reserved('pin', EXECUTION), reserved('primary', EXECUTION), reserved('secondary', EXECUTION),
  row('CR3-target count', EXECUTION, { ok: v => v.word(F.CR3_TARGET_COUNT) <= 4, break: v => v.set(F.CR3_TARGET_COUNT, 5) }),
  ...([['A', F.IO_BITMAP_A], ['B', F.IO_BITMAP_B]] as const).map(([name, field]) => address(`I/O-bitmap address ${name}`, field,
    v => v.primary(C.PRIMARY_IO_BITMAPS), v => v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_IO_BITMAPS))),
  address('MSR-bitmap address', F.MSR_BITMAPS, v => v.primary(C.PRIMARY_MSR_BITMAPS), v => v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_MSR_BITMAPS)),
  address('virtual-APIC address', F.VIRTUAL_APIC_ADDRESS, tprShadow, v => v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_TPR_SHADOW)),
  row('TPR threshold: reserved bits', EXECUTION, {
    when: v => tprShadow(v) && !v.secondary(C.SECONDARY_VIRTUAL_INTERRUPTS),
    ok: v => v.word(F.TPR_THRESHOLD) <= 15,
    break: v => {
      v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_TPR_SHADOW);
      v.set(F.TPR_THRESHOLD, 16);
    },
  }),
  row('TPR threshold: not above the virtual TPR', EXECUTION, {
    when: v => tprShadow(v) && !v.secondary(C.SECONDARY_VIRTUAL_INTERRUPTS | C.SECONDARY_APIC_ACCESSES),
    ok: v => v.word(F.TPR_THRESHOLD) <= ((v.processor.read32(v.wide(F.VIRTUAL_APIC_ADDRESS) + 0x80n) >>> 4) & 15),
    break: v => {
      v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_TPR_SHADOW);
      v.set(F.TPR_THRESHOLD, 15);
    },
  }),
  row('TPR shadow: needed by APIC virtualization', EXECUTION, {
    when: uses(C.SECONDARY_X2APIC | C.SECONDARY_APIC_REGISTERS | C.SECONDARY_VIRTUAL_INTERRUPTS),
    ok: tprShadow,
    break: v => {
      enable(C.SECONDARY_APIC_REGISTERS)(v);
      v.clear(F.PRIMARY_CONTROLS, C.PRIMARY_TPR_SHADOW);
    },
  }),
  row('virtual NMIs need NMI exiting', EXECUTION, {
    when: v => v.pin(C.PIN_VIRTUAL_NMIS), ok: v => v.pin(C.PIN_NMI),
    break: v => {
      v.raise(F.PIN_BASED_CONTROLS, C.PIN_VIRTUAL_NMIS);
      v.clear(F.PIN_BASED_CONTROLS, C.PIN_NMI);
    },
  }),
  row('NMI-window exiting needs virtual NMIs', EXECUTION, {
    when: v => v.primary(C.PRIMARY_NMI_WINDOW), ok: v => v.pin(C.PIN_VIRTUAL_NMIS),
    break: v => {
      v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_NMI_WINDOW);
      v.clear(F.PIN_BASED_CONTROLS, C.PIN_VIRTUAL_NMIS);
    },
  }),
  address('APIC-access address', F.APIC_ACCESS_ADDRESS, uses(C.SECONDARY_APIC_ACCESSES), enable(C.SECONDARY_APIC_ACCESSES)),
  needs('x2APIC mode excludes APIC accesses', C.SECONDARY_X2APIC, v => !v.secondary(C.SECONDARY_APIC_ACCESSES), v => {
    v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_TPR_SHADOW);
    v.raise(F.SECONDARY_CONTROLS, C.SECONDARY_APIC_ACCESSES);
  }),
  needs('virtual-interrupt delivery needs external-interrupt exiting', C.SECONDARY_VIRTUAL_INTERRUPTS, v => v.pin(C.PIN_EXTERNAL_INTERRUPT), v => {
    v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_TPR_SHADOW);
    v.clear(F.PIN_BASED_CONTROLS, C.PIN_EXTERNAL_INTERRUPT);
  }),
  row('posted interrupts need virtual-interrupt delivery and acknowledgement on exit', EXECUTION, {
    when: v => v.pin(C.PIN_POSTED_INTERRUPTS),
    ok: v => v.secondary(C.SECONDARY_VIRTUAL_INTERRUPTS) && v.exit(C.EXIT_ACKNOWLEDGE_INTERRUPT) && v.word(F.POSTED_INTERRUPT_NOTIFICATION_VECTOR) <= 0xff
      && v.address(F.POSTED_INTERRUPT_DESCRIPTOR_ADDRESS, 6),
    break: v => v.raise(F.PIN_BASED_CONTROLS, C.PIN_POSTED_INTERRUPTS),
  }),
  needs('VPID is not 0', C.SECONDARY_VPID, v => v.word(F.VIRTUAL_PROCESSOR_IDENTIFIER) !== 0, v => v.set(F.VIRTUAL_PROCESSOR_IDENTIFIER, 0)),
  needs('EPT pointer', C.SECONDARY_EPT, v => eptPointerValid(v, v.wide(F.EPT_POINTER)), v => v.set(F.EPT_POINTER, 0)),
  ...([['PML', C.SECONDARY_PML], ['unrestricted guest', C.SECONDARY_UNRESTRICTED], ['mode-based execute control', C.SECONDARY_MODE_BASED_EXECUTE]] as const)
    .map(([name, bit]) => needs(`${name} needs EPT`, bit, v => v.secondary(C.SECONDARY_EPT), v => v.clear(F.SECONDARY_CONTROLS, C.SECONDARY_EPT))),
  address('PML address', F.PML_ADDRESS, uses(C.SECONDARY_PML), v => {
    enable(C.SECONDARY_PML | C.SECONDARY_EPT)(v);
    v.set(F.EPT_POINTER, 0x1e);
  }),
  address('virtualization-exception information address', F.VIRTUALIZATION_EXCEPTION_ADDRESS, uses(C.SECONDARY_VIRTUALIZATION_EXCEPTION), enable(C.SECONDARY_VIRTUALIZATION_EXCEPTION)),
  row('VM-function controls: reserved bits', EXECUTION, {
    when: uses(C.SECONDARY_VM_FUNCTIONS), ok: v => (v.wide(F.VM_FUNCTION_CONTROLS) & ~1n) === 0n,
    break: v => {
      enable(C.SECONDARY_VM_FUNCTIONS)(v);
      v.set(F.VM_FUNCTION_CONTROLS, 2);
    },
  }),
  row('EPTP switching needs EPT and a list', EXECUTION, {
    when: v => v.secondary(C.SECONDARY_VM_FUNCTIONS) && (v.wide(F.VM_FUNCTION_CONTROLS) & 1n) !== 0n,
    ok: v => v.secondary(C.SECONDARY_EPT) && v.address(F.EPTP_LIST_ADDRESS),
    break: v => {
      enable(C.SECONDARY_VM_FUNCTIONS)(v);
      v.set(F.VM_FUNCTION_CONTROLS, 1);
      v.set(F.EPTP_LIST_ADDRESS, 1);
    },
  }),
  ...([['VMREAD', F.VMREAD_BITMAP_ADDRESS], ['VMWRITE', F.VMWRITE_BITMAP_ADDRESS]] as const)
    .map(([name, field]) => address(`${name}-bitmap address`, field, uses(C.SECONDARY_SHADOWING), enable(C.SECONDARY_SHADOWING))),
];

/** Memory type UC or WB, 4 levels, no reserved bit. @sdm 3C 25.6.11 */
export function eptPointerValid(v: VmcsView, pointer: bigint): boolean {
  return MEMORY_TYPES.includes(pointer & 7n) && (pointer & 0xfb8n) === 0x18n && v.physical(pointer);
}

/** An MSR area: aligned to 16 bytes, its last byte within the physical-address width. */
function area(id: string, sdm: string, addressField: number, countField: number): CheckRow {
  return row(id, sdm, {
    when: v => v.word(countField) !== 0,
    ok: v => v.address(addressField, 4) && v.physical(v.wide(addressField) + BigInt(v.word(countField)) * 16n - 1n),
    break: v => {
      v.set(countField, 1);
      v.set(addressField, 8);
    },
  });
}

// ---- event injection ----------------------------------------------------------------------------------------------------------------
const EXTERNAL = 0;
const RESERVED_TYPE = 1;
const NMI = 2;
const HARDWARE = 3;
const SOFTWARE_INTERRUPT = 4;
const OTHER = 7;
/** Exceptions with an error code. */
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);
const CR0_PE = 1n;

const info = (v: VmcsView): number => v.word(F.ENTRY_INTERRUPTION_INFORMATION);
const injects = (v: VmcsView): boolean => info(v) >>> 31 !== 0;
const typeOf = (v: VmcsView): number => (info(v) >>> 8) & 7;
const vectorOf = (v: VmcsView): number => info(v) & 0xff;
const inject = (v: VmcsView, type: number, vector: number, more = 0): void => v.set(F.ENTRY_INTERRUPTION_INFORMATION, (0x80000000 | (type << 8) | vector | more) >>> 0);
const injection = (id: string, rest: Rest): CheckRow => ({ ...row(`injected event: ${id}`, ENTRY, rest), group: group.point, when: v => injects(v) && (!rest.when || rest.when(v)) });

function hasError(v: VmcsView): boolean {
  const withoutProtection = v.secondary(C.SECONDARY_UNRESTRICTED) && !(v.wide(F.GUEST_CR0) & CR0_PE);
  return typeOf(v) === HARDWARE && WITH_ERROR.has(vectorOf(v)) && !withoutProtection;
}

const injectionChecks: readonly CheckRow[] = [
  injection('type', { ok: v => typeOf(v) !== RESERVED_TYPE, break: v => inject(v, RESERVED_TYPE, 0) }),
  injection('vector', {
    ok: v => {
      const type = typeOf(v);
      if (type === NMI) return vectorOf(v) === 2;
      if (type === HARDWARE) return vectorOf(v) <= 31;
      return type !== OTHER || vectorOf(v) === 0;
    },
    break: v => inject(v, NMI, 3),
  }),
  injection('error code only where there is one', { ok: v => hasError(v) === ((info(v) & 0x800) !== 0), break: v => inject(v, HARDWARE, 13) }),
  injection('reserved bits', { ok: v => (info(v) & 0x7ffff000) === 0, break: v => inject(v, EXTERNAL, 32, 0x1000) }),
  injection('error code: reserved bits', {
    when: v => (info(v) & 0x800) !== 0, ok: v => v.word(F.ENTRY_EXCEPTION_ERROR_CODE) <= 0xffff,
    break: v => {
      inject(v, HARDWARE, 13, 0x800);
      v.set(F.ENTRY_EXCEPTION_ERROR_CODE, 0x10000);
    },
  }),
  injection('instruction length', {
    when: v => typeOf(v) >= SOFTWARE_INTERRUPT && typeOf(v) !== OTHER, ok: v => v.word(F.ENTRY_INSTRUCTION_LENGTH) <= 15,
    break: v => {
      inject(v, SOFTWARE_INTERRUPT, 32);
      v.set(F.ENTRY_INSTRUCTION_LENGTH, 16);
    },
  }),
];

export const CONTROL_CHECKS: readonly CheckRow[] = [
  ...executionChecks,
  reserved('exit', EXIT),
  row('saving the preemption timer needs the timer', EXIT, {
    when: v => v.exit(C.EXIT_SAVE_PREEMPTION_TIMER), ok: v => v.pin(C.PIN_PREEMPTION_TIMER),
    break: v => {
      v.raise(F.EXIT_CONTROLS, C.EXIT_SAVE_PREEMPTION_TIMER);
      v.clear(F.PIN_BASED_CONTROLS, C.PIN_PREEMPTION_TIMER);
    },
  }),
  area('VM-exit MSR-store address', EXIT, F.EXIT_MSR_STORE_ADDRESS, F.EXIT_MSR_STORE_COUNT),
  area('VM-exit MSR-load address', EXIT, F.EXIT_MSR_LOAD_ADDRESS, F.EXIT_MSR_LOAD_COUNT),
  reserved('entry', ENTRY),
  area('VM-entry MSR-load address', ENTRY, F.ENTRY_MSR_LOAD_ADDRESS, F.ENTRY_MSR_LOAD_COUNT),
  ...injectionChecks,
];
