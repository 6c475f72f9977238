/** Checks of the host state. @sdm 3C 27.2.2 to 27.2.4 */
import { group } from './check-row.ts';
import type { CheckRow } from './check-row.ts';
import { fixedCr0, fixedCr4, patValid } from './checks-registers.ts';
import type { VmcsView } from './view.ts';
import * as F from './fields.ts';
import * as C from './control-bits.ts';

const REGISTERS = '27.2.2';
const SEGMENTS = '27.2.3';
const ADDRESS_SPACE = '27.2.4';
const CR4_PAE = 1n << 5n;
const CR4_PCIDE = 1n << 17n;
const EFER_LONG = 0x500n;
const NOT_CANONICAL = 1n << 62n;

const row = (id: string, sdm: string, rest: Omit<CheckRow, 'id' | 'sdm' | 'phase' | 'group'>): CheckRow => ({ id: `host ${id}`, sdm, group: group.host, phase: 'host', ...rest });
const long = (v: VmcsView): boolean => v.exit(C.EXIT_HOST_LONG);
const canonical = (id: string, sdm: string, field: number): CheckRow => row(`${id} is canonical`, sdm, { ok: v => v.canonical(field), break: v => v.set(field, NOT_CANONICAL) });
const selector = (id: string, field: number): CheckRow => row(`${id} selector: RPL and TI`, SEGMENTS, { ok: v => (v.word(field) & 7) === 0, break: v => v.raise(field, 3) });
const present = (id: string, field: number, when?: (v: VmcsView) => boolean): CheckRow => row(`${id} selector is not null`, SEGMENTS, {
  ...(when ? { when } : {}), ok: v => v.word(field) !== 0,
  break: v => {
    if (when) v.clear(F.EXIT_CONTROLS, C.EXIT_HOST_LONG);
    v.set(field, 0);
  },
});

export const HOST_CHECKS: readonly CheckRow[] = [
  row('CR0: fixed bits', REGISTERS, { ok: v => fixedCr0(v.wide(F.HOST_CR0), false), break: v => v.clear(F.HOST_CR0, 0x80000000) }),
  row('CR4: fixed bits', REGISTERS, { ok: v => fixedCr4(v.wide(F.HOST_CR4), v.processor.cr4), break: v => v.clear(F.HOST_CR4, 1 << 13) }),
  row('CR3: physical-address width', REGISTERS, { ok: v => v.physical(v.wide(F.HOST_CR3)), break: v => v.raise(F.HOST_CR3, 1n << 52n) }),
  canonical('IA32_SYSENTER_ESP', REGISTERS, F.HOST_IA32_SYSENTER_ESP), canonical('IA32_SYSENTER_EIP', REGISTERS, F.HOST_IA32_SYSENTER_EIP),
  row('IA32_PAT', REGISTERS, {
    when: v => v.exit(C.EXIT_LOAD_PAT), ok: v => patValid(v.wide(F.HOST_IA32_PAT)),
    break: v => {
      v.raise(F.EXIT_CONTROLS, C.EXIT_LOAD_PAT);
      v.set(F.HOST_IA32_PAT, 2);
    },
  }),
  row('IA32_EFER', REGISTERS, {
    when: v => v.exit(C.EXIT_LOAD_EFER),
    ok: v => {
      const efer = v.wide(F.HOST_IA32_EFER);
      return (efer & ~v.processor.efer) === 0n && (efer & EFER_LONG) === (long(v) ? EFER_LONG : 0n);
    },
    break: v => {
      v.raise(F.EXIT_CONTROLS, C.EXIT_LOAD_EFER);
      v.set(F.HOST_IA32_EFER, long(v) ? 0 : EFER_LONG);
    },
  }),
  selector('CS', F.HOST_CS_SELECTOR), selector('SS', F.HOST_SS_SELECTOR), selector('DS', F.HOST_DS_SELECTOR), selector('ES', F.HOST_ES_SELECTOR),
  selector('FS', F.HOST_FS_SELECTOR), selector('GS', F.HOST_GS_SELECTOR), selector('TR', F.HOST_TR_SELECTOR),
  present('CS', F.HOST_CS_SELECTOR), present('TR', F.HOST_TR_SELECTOR), present('SS', F.HOST_SS_SELECTOR, v => !long(v)),
  canonical('FS base', SEGMENTS, F.HOST_FS_BASE), canonical('GS base', SEGMENTS, F.HOST_GS_BASE), canonical('TR base', SEGMENTS, F.HOST_TR_BASE),
  canonical('GDTR base', SEGMENTS, F.HOST_GDTR_BASE), canonical('IDTR base', SEGMENTS, F.HOST_IDTR_BASE),
  row('of 32 bits', ADDRESS_SPACE, {
    when: v => !long(v), ok: v => !v.entry(C.ENTRY_GUEST_LONG) && !(v.wide(F.HOST_CR4) & CR4_PCIDE) && v.wide(F.HOST_RIP) >> 32n === 0n,
    break: v => v.clear(F.EXIT_CONTROLS, C.EXIT_HOST_LONG),
  }),
  row('address-space size is that of the processor', ADDRESS_SPACE, {
    ok: v => long(v) === v.processor.longMode && (v.processor.longMode || !v.entry(C.ENTRY_GUEST_LONG)),
    break: v => {
      v.clear(F.EXIT_CONTROLS, C.EXIT_HOST_LONG);
      v.clear(F.ENTRY_CONTROLS, C.ENTRY_GUEST_LONG);
    },
  }),
  row('of 64 bits', ADDRESS_SPACE, {
    when: long, ok: v => (v.wide(F.HOST_CR4) & CR4_PAE) !== 0n && v.canonical(F.HOST_RIP), break: v => v.set(F.HOST_RIP, NOT_CANONICAL),
  }),
];
