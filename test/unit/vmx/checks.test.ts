import { describe, expect, it } from 'vitest';
import { ALL_GROUPS, group } from '../../../core/vmx/check-row.ts';
import { CHECKS, checkEntry, failedCheck, groupsOf } from '../../../core/vmx/checks.ts';
import { FIELDS } from '../../../core/vmx/vmcs.ts';
import { checkedProcessor, validVmcs } from '../../helpers/vmcs.ts';
import * as F from '../../../core/vmx/fields.ts';

const OUTCOMES = { controls: 7, host: 8, guest: 33 } as const;

describe('the checks of VM entry', () => {
  it('let a valid VMCS pass', () => {
    expect(failedCheck(validVmcs(), ALL_GROUPS)?.id).toBeUndefined();
  });

  it.each(CHECKS.map(row => [row.id, row] as const))('refuse: %s', (_id, row) => {
    const vmcs = validVmcs();
    row.break(vmcs);
    expect(failedCheck(vmcs, ALL_GROUPS)?.id).toBe(row.id);
    expect(checkEntry(vmcs, ALL_GROUPS)).toBe(OUTCOMES[row.phase] | ((row.qualification ?? 0) << 8));
  });

  it('run in the groups that were asked for, and in no other', () => {
    const vmcs = validVmcs();
    vmcs.set(F.HOST_CR0, 0);
    expect([checkEntry(vmcs, ALL_GROUPS & ~group.host), checkEntry(vmcs, group.host)]).toEqual([0, 8]);
  });

  it('are named once', () => {
    expect(new Set(CHECKS.map(({ id }) => id)).size).toBe(CHECKS.length);
  });
});

describe('a shadow VMCS', () => {
  const linked = (header: number) => {
    const vmcs = validVmcs(checkedProcessor({ read32: () => header }));
    vmcs.set(F.VMCS_LINK_POINTER, 0x7000);
    return checkEntry(vmcs, ALL_GROUPS);
  };
  it('must have the revision, and the indicator only with VMCS shadowing', () => {
    const { revision } = checkedProcessor();
    expect([linked(revision), linked(revision + 1), linked((revision | 0x80000000) >>> 0)]).toEqual([0, 0x421, 0x421]);
  });
});

describe('fields', () => {
  it('have a place of their own each, which is not the header', () => {
    expect(new Set(FIELDS.map(({ offset }) => offset)).size).toBe(FIELDS.length);
    expect(FIELDS.every(({ offset }) => offset >= 0x100 && offset < 4096 && offset % 8 === 0)).toBe(true);
  });

  it('of a kind that is checked are checked again after a write', () => {
    const row = (encoding: number) => FIELDS.find(field => field.encoding === encoding)!;
    expect([F.GUEST_RIP, F.GUEST_CR0, F.HOST_RIP, F.PRIMARY_CONTROLS, F.GUEST_RSP].map(encoding => groupsOf(row(encoding))))
      .toEqual([group.rip, group.guest | group.point | group.rip, group.host, ALL_GROUPS, 0]);
  });

  // A row whose outcome depends on a field must be in a group that a write of that field makes unchecked.
  it.each(CHECKS.map(row => [row.id, row] as const))('that break a check are in its group: %s', (_id, row) => {
    const before = validVmcs();
    const after = validVmcs();
    row.break(after);
    const written = FIELDS.filter(({ encoding }) => before.wide(encoding) !== after.wide(encoding));
    expect(written.some(field => (groupsOf(field) & row.group) !== 0)).toBe(true);
  });
});
