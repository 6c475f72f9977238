/** Checks of the guest state but for its segment registers. @sdm 3C 27.3.1 */
import { group } from './check-row.ts';
import type { CheckRow } from './check-row.ts';
import { fixedCr0, fixedCr4, patValid } from './checks-registers.ts';
import type { VmcsView } from './view.ts';
import * as F from './fields.ts';
import * as C from './control-bits.ts';

const REGISTERS = '27.3.1.1';
const TABLES = '27.3.1.3';
const FLAGS = '27.3.1.4';
const OTHER_STATE = '27.3.1.5';
const PDPTES = '27.3.1.6';

const CR0_PE = 1n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const CR4_PCIDE = 1n << 17n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
/** LBR and BTF. */
const DEBUGCTL_BITS = 3n;
const DEBUGCTL_BTF = 2n;
const RFLAGS_TF = 1n << 8n;
const RFLAGS_IF = 1n << 9n;
const RFLAGS_VM = 1n << 17n;
const NOT_CANONICAL = 1n << 62n;
const CS_LONG = 1 << 13;

const BLOCKED_STI = 1;
const BLOCKED_MOV_SS = 2;
const BLOCKED_SMI = 4;
const BLOCKED_NMI = 8;
const ACTIVE = 0;
const HLT = 1;
const SHUTDOWN = 2;
const WAIT_FOR_SIPI = 3;
const PENDING_BS = 1n << 14n;
/** B3:B0, enabled breakpoint, BS; there is no RTM. */
const PENDING_BITS = 0x500fn;
const NO_POINTER = 0xffff_ffff_ffff_ffffn;
const QUALIFICATION_PDPTE = 2;
const QUALIFICATION_LINK = 4;
const SHADOW_INDICATOR = 0x80000000;

type Rest = Omit<CheckRow, 'id' | 'sdm' | 'phase' | 'group'>;
const row = (id: string, sdm: string, rest: Rest): CheckRow => ({ id: `guest ${id}`, sdm, group: group.guest, phase: 'guest', ...rest });
const point = (id: string, sdm: string, rest: Rest): CheckRow => ({ ...row(id, sdm, rest), group: group.point });

const long = (v: VmcsView): boolean => v.entry(C.ENTRY_GUEST_LONG);
const unrestricted = (v: VmcsView): boolean => v.secondary(C.SECONDARY_UNRESTRICTED);
const canonical = (id: string, sdm: string, field: number): CheckRow => row(`${id} is canonical`, sdm, { ok: v => v.canonical(field), break: v => v.set(field, NOT_CANONICAL) });
const has = (v: VmcsView, field: number, bits: bigint): boolean => (v.wide(field) & bits) !== 0n;

const registerChecks: readonly CheckRow[] = [
  row('CR0: fixed bits', REGISTERS, { ok: v => fixedCr0(v.wide(F.GUEST_CR0), unrestricted(v)), break: v => v.clear(F.GUEST_CR0, 1 << 5) }),
  row('CR0: paging needs protection', REGISTERS, {
    when: v => has(v, F.GUEST_CR0, CR0_PG), ok: v => has(v, F.GUEST_CR0, CR0_PE),
    break: v => {
      v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_SECONDARY);
      v.raise(F.SECONDARY_CONTROLS, C.SECONDARY_EPT | C.SECONDARY_UNRESTRICTED);
      v.set(F.EPT_POINTER, 0x1e);
      v.clear(F.GUEST_CR0, CR0_PE);
    },
  }),
  row('CR4: fixed bits', REGISTERS, { ok: v => fixedCr4(v.wide(F.GUEST_CR4), v.processor.cr4), break: v => v.clear(F.GUEST_CR4, 1 << 13) }),
  row('IA32_DEBUGCTL: reserved bits', REGISTERS, {
    when: v => v.entry(C.ENTRY_LOAD_DEBUG), ok: v => (v.wide(F.GUEST_IA32_DEBUGCTL) & ~DEBUGCTL_BITS) === 0n,
    break: v => {
      v.raise(F.ENTRY_CONTROLS, C.ENTRY_LOAD_DEBUG);
      v.set(F.GUEST_IA32_DEBUGCTL, 1n << 63n);
    },
  }),
  row('IA-32e mode needs PAE paging', REGISTERS, {
    when: long, ok: v => has(v, F.GUEST_CR0, CR0_PG) && has(v, F.GUEST_CR4, CR4_PAE),
    break: v => {
      v.raise(F.ENTRY_CONTROLS, C.ENTRY_GUEST_LONG);
      v.clear(F.GUEST_CR4, CR4_PAE);
    },
  }),
  row('PCIDs need IA-32e mode', REGISTERS, {
    when: v => !long(v), ok: v => !has(v, F.GUEST_CR4, CR4_PCIDE),
    break: v => {
      v.clear(F.ENTRY_CONTROLS, C.ENTRY_GUEST_LONG);
      v.raise(F.GUEST_CR4, CR4_PCIDE);
    },
  }),
  row('CR3: physical-address width', REGISTERS, { ok: v => v.physical(v.wide(F.GUEST_CR3)), break: v => v.raise(F.GUEST_CR3, 1n << 52n) }),
  row('DR7: upper half', REGISTERS, {
    when: v => v.entry(C.ENTRY_LOAD_DEBUG), ok: v => v.wide(F.GUEST_DR7) >> 32n === 0n,
    break: v => {
      v.raise(F.ENTRY_CONTROLS, C.ENTRY_LOAD_DEBUG);
      v.raise(F.GUEST_DR7, 1n << 32n);
    },
  }),
  canonical('IA32_SYSENTER_ESP', REGISTERS, F.GUEST_IA32_SYSENTER_ESP), canonical('IA32_SYSENTER_EIP', REGISTERS, F.GUEST_IA32_SYSENTER_EIP),
  row('IA32_PAT', REGISTERS, {
    when: v => v.entry(C.ENTRY_LOAD_PAT), ok: v => patValid(v.wide(F.GUEST_IA32_PAT)),
    break: v => {
      v.raise(F.ENTRY_CONTROLS, C.ENTRY_LOAD_PAT);
      v.set(F.GUEST_IA32_PAT, 3);
    },
  }),
  row('IA32_EFER', REGISTERS, {
    when: v => v.entry(C.ENTRY_LOAD_EFER),
    ok: v => {
      const efer = v.wide(F.GUEST_IA32_EFER);
      const active = (efer & EFER_LMA) !== 0n;
      return (efer & ~v.processor.efer) === 0n && active === long(v) && (!has(v, F.GUEST_CR0, CR0_PG) || active === ((efer & EFER_LME) !== 0n));
    },
    break: v => {
      v.raise(F.ENTRY_CONTROLS, C.ENTRY_LOAD_EFER);
      v.set(F.GUEST_IA32_EFER, long(v) ? 0 : EFER_LMA);
    },
  }),
];

const tableChecks: readonly CheckRow[] = [
  canonical('GDTR base', TABLES, F.GUEST_GDTR_BASE), canonical('IDTR base', TABLES, F.GUEST_IDTR_BASE),
  row('GDTR limit', TABLES, { ok: v => v.word(F.GUEST_GDTR_LIMIT) <= 0xffff, break: v => v.set(F.GUEST_GDTR_LIMIT, 0x10000) }),
  row('IDTR limit', TABLES, { ok: v => v.word(F.GUEST_IDTR_LIMIT) <= 0xffff, break: v => v.set(F.GUEST_IDTR_LIMIT, 0x10000) }),
];

// ---- RIP, RFLAGS, non-register state ------------------------------------------------------------------------------------------------
const info = (v: VmcsView): number => v.word(F.ENTRY_INTERRUPTION_INFORMATION);
const injects = (v: VmcsView, type: number): boolean => info(v) >>> 31 !== 0 && ((info(v) >>> 8) & 7) === type;
const inject = (v: VmcsView, type: number, vector: number): void => v.set(F.ENTRY_INTERRUPTION_INFORMATION, (0x80000000 | (type << 8) | vector) >>> 0);
const blocked = (v: VmcsView, bits: number): boolean => (v.word(F.GUEST_INTERRUPTIBILITY_STATE) & bits) !== 0;
const activity = (v: VmcsView): number => v.word(F.GUEST_ACTIVITY_STATE);
const EXTERNAL = 0;
const NMI = 2;
const HARDWARE = 3;
const OTHER = 7;

/** What may be injected into an activity state that is not active. */
function wakes(v: VmcsView): boolean {
  const vector = info(v) & 0xff;
  const machineCheck = injects(v, HARDWARE) && vector === 18;
  if (activity(v) === HLT) return injects(v, EXTERNAL) || injects(v, NMI) || injects(v, OTHER) || machineCheck || (injects(v, HARDWARE) && vector === 1);
  return activity(v) === SHUTDOWN && (injects(v, NMI) || machineCheck);
}

const pointChecks: readonly CheckRow[] = [
  {
    ...row('RIP', FLAGS, {
      ok: v => (long(v) && v.word(F.GUEST_CS_ACCESS_RIGHTS) & CS_LONG ? v.canonical(F.GUEST_RIP) : v.wide(F.GUEST_RIP) >> 32n === 0n),
      break: v => v.set(F.GUEST_RIP, NOT_CANONICAL),
    }),
    group: group.rip,
  },
  row('RFLAGS: reserved bits', FLAGS, { ok: v => (v.wide(F.GUEST_RFLAGS) & ~0x3f7fd5n) === 2n, break: v => v.clear(F.GUEST_RFLAGS, 2) }),
  row('RFLAGS: virtual-8086 mode', FLAGS, {
    when: v => long(v) || !has(v, F.GUEST_CR0, CR0_PE), ok: v => !has(v, F.GUEST_RFLAGS, RFLAGS_VM),
    break: v => v.raise(F.GUEST_RFLAGS, RFLAGS_VM),
  }),
  point('RFLAGS: external interrupts need IF', FLAGS, {
    when: v => injects(v, EXTERNAL), ok: v => has(v, F.GUEST_RFLAGS, RFLAGS_IF),
    break: v => {
      inject(v, EXTERNAL, 32);
      v.clear(F.GUEST_RFLAGS, RFLAGS_IF);
    },
  }),
  point('activity state exists', OTHER_STATE, { ok: v => activity(v) <= WAIT_FOR_SIPI, break: v => v.set(F.GUEST_ACTIVITY_STATE, 4) }),
  point('activity state HLT needs privilege 0', OTHER_STATE, {
    when: v => activity(v) === HLT, ok: v => ((v.word(F.GUEST_SS_ACCESS_RIGHTS) >>> 5) & 3) === 0,
    break: v => {
      v.set(F.GUEST_ACTIVITY_STATE, HLT);
      v.raise(F.GUEST_SS_ACCESS_RIGHTS, 3 << 5);
    },
  }),
  point('activity state is active in a shadow', OTHER_STATE, {
    when: v => blocked(v, BLOCKED_STI | BLOCKED_MOV_SS), ok: v => activity(v) === ACTIVE,
    break: v => {
      v.raise(F.GUEST_RFLAGS, RFLAGS_IF);
      v.set(F.GUEST_INTERRUPTIBILITY_STATE, BLOCKED_STI);
      v.set(F.GUEST_ACTIVITY_STATE, HLT);
    },
  }),
  point('activity state and injected event', OTHER_STATE, {
    when: v => info(v) >>> 31 !== 0 && activity(v) !== ACTIVE, ok: wakes,
    break: v => {
      v.raise(F.GUEST_RFLAGS, RFLAGS_IF);
      v.set(F.GUEST_ACTIVITY_STATE, WAIT_FOR_SIPI);
      inject(v, EXTERNAL, 32);
    },
  }),
  point('interruptibility: reserved bits', OTHER_STATE, { ok: v => v.word(F.GUEST_INTERRUPTIBILITY_STATE) <= 15, break: v => v.set(F.GUEST_INTERRUPTIBILITY_STATE, 16) }),
  point('interruptibility: STI or MOV SS', OTHER_STATE, {
    ok: v => (v.word(F.GUEST_INTERRUPTIBILITY_STATE) & 3) !== 3,
    break: v => {
      v.raise(F.GUEST_RFLAGS, RFLAGS_IF);
      v.set(F.GUEST_INTERRUPTIBILITY_STATE, 3);
    },
  }),
  point('interruptibility: blocking by STI needs IF', OTHER_STATE, {
    when: v => blocked(v, BLOCKED_STI), ok: v => has(v, F.GUEST_RFLAGS, RFLAGS_IF),
    break: v => {
      v.clear(F.GUEST_RFLAGS, RFLAGS_IF);
      v.set(F.GUEST_INTERRUPTIBILITY_STATE, BLOCKED_STI);
    },
  }),
  point('interruptibility: external interrupts wait for shadows', OTHER_STATE, {
    when: v => injects(v, EXTERNAL), ok: v => !blocked(v, BLOCKED_STI | BLOCKED_MOV_SS),
    break: v => {
      v.raise(F.GUEST_RFLAGS, RFLAGS_IF);
      inject(v, EXTERNAL, 32);
      v.set(F.GUEST_INTERRUPTIBILITY_STATE, BLOCKED_MOV_SS);
    },
  }),
  point('interruptibility: NMIs wait for MOV SS', OTHER_STATE, {
    when: v => injects(v, NMI), ok: v => !blocked(v, BLOCKED_MOV_SS),
    break: v => {
      inject(v, NMI, 2);
      v.set(F.GUEST_INTERRUPTIBILITY_STATE, BLOCKED_MOV_SS);
    },
  }),
  point('interruptibility: no SMM', OTHER_STATE, { ok: v => !blocked(v, BLOCKED_SMI), break: v => v.set(F.GUEST_INTERRUPTIBILITY_STATE, BLOCKED_SMI) }),
  point('interruptibility: virtual NMIs wait for the one before', OTHER_STATE, {
    when: v => v.pin(C.PIN_VIRTUAL_NMIS) && injects(v, NMI), ok: v => !blocked(v, BLOCKED_NMI),
    break: v => {
      v.raise(F.PIN_BASED_CONTROLS, C.PIN_NMI | C.PIN_VIRTUAL_NMIS);
      inject(v, NMI, 2);
      v.set(F.GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
    },
  }),
  point('pending debug exceptions: reserved bits', OTHER_STATE, {
    ok: v => (v.wide(F.GUEST_PENDING_DEBUG_EXCEPTIONS) & ~PENDING_BITS) === 0n, break: v => v.set(F.GUEST_PENDING_DEBUG_EXCEPTIONS, 1n << 63n),
  }),
  point('pending debug exceptions: BS follows TF', OTHER_STATE, {
    when: v => blocked(v, BLOCKED_STI | BLOCKED_MOV_SS) || activity(v) === HLT,
    ok: v => has(v, F.GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_BS) === (has(v, F.GUEST_RFLAGS, RFLAGS_TF) && !has(v, F.GUEST_IA32_DEBUGCTL, DEBUGCTL_BTF)),
    break: v => {
      v.set(F.GUEST_INTERRUPTIBILITY_STATE, BLOCKED_MOV_SS);
      v.clear(F.GUEST_RFLAGS, RFLAGS_TF);
      v.set(F.GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_BS);
    },
  }),
];

const linked = (v: VmcsView): boolean => v.wide(F.VMCS_LINK_POINTER) !== NO_POINTER;

const linkChecks: readonly CheckRow[] = [
  row('VMCS link pointer', OTHER_STATE, {
    qualification: QUALIFICATION_LINK, when: linked,
    ok: v => {
      const pointer = v.wide(F.VMCS_LINK_POINTER);
      if (!v.address(F.VMCS_LINK_POINTER) || pointer === v.processor.currentVmcs) return false;
      const header = v.processor.read32(pointer);
      return (header & ~SHADOW_INDICATOR) === v.processor.revision && header >>> 31 === (v.secondary(C.SECONDARY_SHADOWING) ? 1 : 0);
    },
    break: v => v.set(F.VMCS_LINK_POINTER, 1),
  }),
];

const PDPTE_RESERVED = 0xfff0_0000_0000_01e6n;
const pdpteValid = (v: VmcsView, field: number): boolean => {
  const entry = v.wide(field);
  return (entry & 1n) === 0n || ((entry & PDPTE_RESERVED) === 0n && v.physical(entry & ~0xfffn));
};

const pdpteChecks: readonly CheckRow[] = [F.GUEST_PDPTE0, F.GUEST_PDPTE1, F.GUEST_PDPTE2, F.GUEST_PDPTE3].map((field, i) => row(`PDPTE ${i}`, PDPTES, {
  qualification: QUALIFICATION_PDPTE,
  when: v => v.secondary(C.SECONDARY_EPT) && has(v, F.GUEST_CR0, CR0_PG) && has(v, F.GUEST_CR4, CR4_PAE) && !long(v),
  ok: v => pdpteValid(v, field),
  break: v => {
    v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_SECONDARY);
    v.raise(F.SECONDARY_CONTROLS, C.SECONDARY_EPT);
    v.set(F.EPT_POINTER, 0x1e);
    v.clear(F.ENTRY_CONTROLS, C.ENTRY_GUEST_LONG);
    v.clear(F.GUEST_CR4, CR4_PCIDE);
    v.clear(F.GUEST_IA32_EFER, EFER_LMA | EFER_LME);
    v.clear(F.GUEST_CS_ACCESS_RIGHTS, CS_LONG);
    v.set(F.GUEST_RIP, 0);
    v.set(field, 1n << 8n | 1n);
  },
}));

export const GUEST_CHECKS: readonly CheckRow[] = [...registerChecks, ...tableChecks, ...pointChecks, ...linkChecks, ...pdpteChecks];
