/** Checks of the guest's segment registers. @sdm 3C 27.3.1.2 */
import { group } from './check-row.ts';
import type { CheckRow } from './check-row.ts';
import type { VmcsView } from './view.ts';
import * as F from './fields.ts';
import * as C from './control-bits.ts';

interface SegmentFields {
  readonly name: string;
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  readonly rights: number;
}

const fields = (name: string, selector: number, base: number, limit: number, rights: number): SegmentFields => ({ name, selector, base, limit, rights });
const CS = fields('CS', F.GUEST_CS_SELECTOR, F.GUEST_CS_BASE, F.GUEST_CS_LIMIT, F.GUEST_CS_ACCESS_RIGHTS);
const SS = fields('SS', F.GUEST_SS_SELECTOR, F.GUEST_SS_BASE, F.GUEST_SS_LIMIT, F.GUEST_SS_ACCESS_RIGHTS);
const DS = fields('DS', F.GUEST_DS_SELECTOR, F.GUEST_DS_BASE, F.GUEST_DS_LIMIT, F.GUEST_DS_ACCESS_RIGHTS);
const ES = fields('ES', F.GUEST_ES_SELECTOR, F.GUEST_ES_BASE, F.GUEST_ES_LIMIT, F.GUEST_ES_ACCESS_RIGHTS);
const FS = fields('FS', F.GUEST_FS_SELECTOR, F.GUEST_FS_BASE, F.GUEST_FS_LIMIT, F.GUEST_FS_ACCESS_RIGHTS);
const GS = fields('GS', F.GUEST_GS_SELECTOR, F.GUEST_GS_BASE, F.GUEST_GS_LIMIT, F.GUEST_GS_ACCESS_RIGHTS);
const TR = fields('TR', F.GUEST_TR_SELECTOR, F.GUEST_TR_BASE, F.GUEST_TR_LIMIT, F.GUEST_TR_ACCESS_RIGHTS);
const LDTR = fields('LDTR', F.GUEST_LDTR_SELECTOR, F.GUEST_LDTR_BASE, F.GUEST_LDTR_LIMIT, F.GUEST_LDTR_ACCESS_RIGHTS);
const DATA = [DS, ES, FS, GS];
const ALL = [CS, SS, ...DATA];

const UNUSABLE = 1 << 16;
const GRANULARITY = 1 << 15;
const BIG = 1 << 14;
const LONG = 1 << 13;
const PRESENT = 1 << 7;
const CODE_OR_DATA = 1 << 4;
const RESERVED = 0xfffe0f00;
const RFLAGS_VM = 1n << 17n;
const CR0_PE = 1n;
const V86_RIGHTS = 0xf3;
const NOT_CANONICAL = 1n << 62n;

const rights = (v: VmcsView, segment: SegmentFields): number => v.word(segment.rights);
const type = (v: VmcsView, segment: SegmentFields): number => rights(v, segment) & 15;
const dpl = (v: VmcsView, segment: SegmentFields): number => (rights(v, segment) >>> 5) & 3;
const rpl = (v: VmcsView, segment: SegmentFields): number => v.word(segment.selector) & 3;
const usable = (v: VmcsView, segment: SegmentFields): boolean => !(rights(v, segment) & UNUSABLE);
const virtual = (v: VmcsView): boolean => (v.wide(F.GUEST_RFLAGS) & RFLAGS_VM) !== 0n;
const long = (v: VmcsView): boolean => v.entry(C.ENTRY_GUEST_LONG);
const unrestricted = (v: VmcsView): boolean => v.secondary(C.SECONDARY_UNRESTRICTED);

type Rest = Omit<CheckRow, 'id' | 'sdm' | 'phase' | 'group'>;
const row = (segment: SegmentFields, id: string, rest: Rest): CheckRow => ({ id: `guest ${segment.name}: ${id}`, sdm: '27.3.1.2', group: group.guest, phase: 'guest', ...rest });
/** In protected mode: where the register is usable, and always for CS and TR. */
const outside8086 = (segment: SegmentFields, id: string, rest: Rest): CheckRow => row(segment, id, {
  ...rest, when: v => !virtual(v) && (segment === CS || usable(v, segment)) && (!rest.when || rest.when(v)),
});
const present = (segment: SegmentFields, id: string, rest: Rest): CheckRow => row(segment, id, {
  ...rest, when: v => (segment === TR || usable(v, segment)) && (!rest.when || rest.when(v)),
});

/** Makes a register usable with some access rights. */
const give = (v: VmcsView, segment: SegmentFields, value: number): void => v.set(segment.rights, value);

/** Turns a valid 64-bit or 32-bit guest into one in virtual-8086 mode. */
function enter8086(v: VmcsView): void {
  v.clear(F.ENTRY_CONTROLS, C.ENTRY_GUEST_LONG);
  v.clear(F.GUEST_IA32_EFER, 0x500);
  v.clear(F.GUEST_CR4, 1n << 17n);
  v.set(F.GUEST_RIP, 0);
  v.raise(F.GUEST_RFLAGS, RFLAGS_VM);
  for (const segment of ALL) {
    v.set(segment.base, BigInt(v.word(segment.selector)) << 4n);
    v.set(segment.limit, 0xffff);
    v.set(segment.rights, V86_RIGHTS);
  }
}

/** Low bits of the limit that are not all ones exclude granularity, high bits that are not all zeros demand it. */
function granularityFits(v: VmcsView, segment: SegmentFields): boolean {
  const limit = v.word(segment.limit);
  const pages = (rights(v, segment) & GRANULARITY) !== 0;
  return ((limit & 0xfff) === 0xfff || !pages) && (limit >>> 20 === 0 || pages);
}
const granularity = (check: typeof present, segment: SegmentFields): CheckRow => check(segment, 'granularity', {
  ok: v => granularityFits(v, segment),
  break: v => {
    if (segment === LDTR) give(v, LDTR, 0x82);
    v.clear(segment.rights, UNUSABLE | GRANULARITY);
    v.set(segment.limit, 0xfff00000);
  },
});

const selectorChecks: readonly CheckRow[] = [
  row(TR, 'selector in the GDT', { ok: v => !(v.word(TR.selector) & 4), break: v => v.raise(TR.selector, 4) }),
  row(LDTR, 'selector in the GDT', {
    when: v => usable(v, LDTR), ok: v => !(v.word(LDTR.selector) & 4),
    break: v => {
      give(v, LDTR, 0x82);
      v.raise(LDTR.selector, 4);
    },
  }),
  row(SS, 'RPL is that of CS', { when: v => !virtual(v) && !unrestricted(v), ok: v => rpl(v, SS) === rpl(v, CS), break: v => v.raise(SS.selector, 3) }),
];

const baseChecks: readonly CheckRow[] = [
  ...ALL.map(segment => row(segment, 'base in virtual-8086 mode', {
    when: virtual, ok: v => v.wide(segment.base) === BigInt(v.word(segment.selector)) << 4n,
    break: v => {
      enter8086(v);
      v.set(segment.base, 1);
    },
  })),
  ...[TR, FS, GS].map(segment => row(segment, 'base is canonical', { ok: v => v.canonical(segment.base), break: v => v.set(segment.base, NOT_CANONICAL) })),
  row(LDTR, 'base is canonical', {
    when: v => usable(v, LDTR), ok: v => v.canonical(LDTR.base),
    break: v => {
      give(v, LDTR, 0x82);
      v.clear(LDTR.selector, 4);
      v.set(LDTR.base, NOT_CANONICAL);
    },
  }),
  row(CS, 'base of 32 bits', { ok: v => v.wide(CS.base) >> 32n === 0n, break: v => v.set(CS.base, 1n << 32n) }),
  ...[SS, DS, ES].map(segment => row(segment, 'base of 32 bits', {
    when: v => usable(v, segment), ok: v => v.wide(segment.base) >> 32n === 0n,
    break: v => {
      v.clear(segment.rights, UNUSABLE);
      v.set(segment.base, 1n << 32n);
    },
  })),
];

const virtualChecks: readonly CheckRow[] = ALL.flatMap(segment => [
  row(segment, 'limit in virtual-8086 mode', {
    when: virtual, ok: v => v.word(segment.limit) === 0xffff,
    break: v => {
      enter8086(v);
      v.set(segment.limit, 0xfffff);
    },
  }),
  row(segment, 'access rights in virtual-8086 mode', {
    when: virtual, ok: v => rights(v, segment) === V86_RIGHTS,
    break: v => {
      enter8086(v);
      v.set(segment.rights, 0x93);
    },
  }),
]);

const ACCESSED_CODE = [9, 11, 13, 15];

const typeChecks: readonly CheckRow[] = [
  outside8086(CS, 'type', { ok: v => ACCESSED_CODE.includes(type(v, CS)) || (type(v, CS) === 3 && unrestricted(v)), break: v => v.clear(CS.rights, 1) }),
  outside8086(SS, 'type', {
    ok: v => type(v, SS) === 3 || type(v, SS) === 7,
    break: v => {
      v.clear(SS.rights, UNUSABLE | 15);
      v.raise(SS.rights, 1);
    },
  }),
  ...DATA.map(segment => outside8086(segment, 'type', {
    ok: v => (type(v, segment) & 1) === 1 && ((type(v, segment) & 8) === 0 || (type(v, segment) & 2) !== 0),
    break: v => v.clear(segment.rights, UNUSABLE | 1),
  })),
  ...ALL.map(segment => outside8086(segment, 'code or data', { ok: v => (rights(v, segment) & CODE_OR_DATA) !== 0, break: v => v.clear(segment.rights, UNUSABLE | CODE_OR_DATA) })),
];

const privilegeChecks: readonly CheckRow[] = [
  outside8086(CS, 'DPL', {
    ok: v => {
      if (type(v, CS) === 3) return dpl(v, CS) === 0;
      return type(v, CS) < 12 ? dpl(v, CS) === dpl(v, SS) : dpl(v, CS) <= dpl(v, SS);
    },
    break: v => v.raise(CS.rights, 3 << 5),
  }),
  row(SS, 'DPL is the RPL', {
    when: v => !virtual(v) && !unrestricted(v), ok: v => dpl(v, SS) === rpl(v, SS),
    break: v => {
      v.raise(SS.rights, 3 << 5);
      v.raise(CS.rights, 3 << 5);
    },
  }),
  row(SS, 'DPL of code that is data, or without protection', {
    when: v => !virtual(v) && (type(v, CS) === 3 || !(v.wide(F.GUEST_CR0) & CR0_PE)), ok: v => dpl(v, SS) === 0,
    break: v => {
      v.raise(F.PRIMARY_CONTROLS, C.PRIMARY_SECONDARY);
      v.raise(F.SECONDARY_CONTROLS, C.SECONDARY_EPT | C.SECONDARY_UNRESTRICTED);
      v.set(F.EPT_POINTER, 0x1e);
      v.set(CS.rights, (rights(v, CS) & ~(15 | LONG)) | 3);
      v.raise(SS.rights, 3 << 5);
    },
  }),
  ...DATA.map(segment => outside8086(segment, 'DPL', {
    when: v => !unrestricted(v) && type(v, segment) < 12, ok: v => dpl(v, segment) >= rpl(v, segment),
    break: v => {
      v.clear(segment.rights, UNUSABLE | 3 << 5);
      v.raise(segment.selector, 3);
    },
  })),
];

const formatChecks: readonly CheckRow[] = [
  ...ALL.flatMap(segment => [
    outside8086(segment, 'present', { ok: v => (rights(v, segment) & PRESENT) !== 0, break: v => v.clear(segment.rights, UNUSABLE | PRESENT) }),
    outside8086(segment, 'reserved bits', {
      ok: v => (rights(v, segment) & RESERVED) === 0,
      break: v => {
        v.clear(segment.rights, UNUSABLE);
        v.raise(segment.rights, 0x100);
      },
    }),
    granularity(outside8086, segment),
  ]),
  outside8086(CS, 'L excludes D', { ok: v => !long(v) || (rights(v, CS) & (LONG | BIG)) !== (LONG | BIG), break: v => v.raise(CS.rights, LONG | BIG) }),
];

const systemChecks: readonly CheckRow[] = [
  row(TR, 'type', { ok: v => type(v, TR) === 11 || (type(v, TR) === 3 && !long(v)), break: v => v.clear(TR.rights, 2) }),
  present(LDTR, 'type', { ok: v => type(v, LDTR) === 2, break: v => give(v, LDTR, 0x81) }),
  ...[TR, LDTR].flatMap(segment => [
    present(segment, 'system segment', { ok: v => !(rights(v, segment) & CODE_OR_DATA), break: v => give(v, segment, segment === TR ? 0x9b : 0x92) }),
    present(segment, 'present', { ok: v => (rights(v, segment) & PRESENT) !== 0, break: v => give(v, segment, segment === TR ? 0x0b : 0x02) }),
    present(segment, 'reserved bits', { ok: v => (rights(v, segment) & RESERVED) === 0, break: v => give(v, segment, segment === TR ? 0x18b : 0x182) }),
    granularity(present, segment),
  ]),
  row(TR, 'usable', { ok: v => usable(v, TR), break: v => v.raise(TR.rights, UNUSABLE) }),
];

export const SEGMENT_CHECKS: readonly CheckRow[] = [
  ...selectorChecks, ...baseChecks, ...virtualChecks, ...typeChecks, ...privilegeChecks, ...formatChecks, ...systemChecks,
];
