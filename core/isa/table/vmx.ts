/** VMX instructions. @sdm 3C 31 */
import type { Definition, Ops } from '../ops.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';

const vmx = { feature: 'vmx' } as const;

/** Operands have 64 bits in 64-bit code, 32 elsewhere. */
const bytes = (o: Ops): number => (o.long ? 8 : 4);
const wide = (o: Ops, slot: 'G' | 'E') => (o.long ? o.slot(slot, 64) : o.zeroExtend(o.slot(slot, 32), 64));

/** A memory operand that holds a pointer to a region; privilege and non-root operation come before it is looked at. */
const pointer = (helper: string, reason: number, write = false): Definition => o => {
  o.instruction('vmxAdmitOperands', [o.const(32, reason)]);
  o.instruction(helper, [o.operandLinear(8, write)]);
};
const invalidate = (helper: 'invept' | 'invvpid', reason: number): Definition => o => {
  o.instruction('vmxAdmitOperands', [o.const(32, reason)]);
  o.instruction(helper, [wide(o, 'G'), o.operandLinear(16, false)]);
};

export const vmxRows: readonly RowSpec[] = [
  row('NP 0F 01 =C1', 'VMCALL', '', 'modrm', o => o.instruction('vmcall'), vmx),
  row('NP 0F 01 =C2', 'VMLAUNCH', '', 'modrm ends', o => o.instruction('vmEnter', [o.const(32, 0)]), vmx),
  row('NP 0F 01 =C3', 'VMRESUME', '', 'modrm ends', o => o.instruction('vmEnter', [o.const(32, 1)]), vmx),
  row('NP 0F 01 =C4', 'VMXOFF', '', 'modrm', o => o.instruction('vmxoff'), vmx),
  row('NP 0F 01 =D4', 'VMFUNC', '', 'modrm ends', o => o.instruction('vmfunc'), vmx),
  row('NP 0F C7 /6', 'VMPTRLD', 'M', 'mem', pointer('vmptrld', 21), vmx),
  row('NP 0F C7 /7', 'VMPTRST', 'M', 'mem', pointer('vmptrst', 22, true), vmx),
  row('66 0F C7 /6', 'VMCLEAR', 'M', 'mem', pointer('vmclear', 19), vmx),
  row('F3 0F C7 /6', 'VMXON', 'M', 'mem', o => {
    o.instruction('vmxonAdmit');
    o.instruction('vmxon', [o.operandLinear(8, false)]);
  }, vmx),
  row('NP 0F 78', 'VMREAD', 'Ey,Gy', 'f64', o => {
    o.instruction('vmreadAdmit', [wide(o, 'G')]);
    if (o.isMemory(0)) o.instruction('vmreadMemory', [wide(o, 'G'), o.operandLinear(bytes(o), true), o.const(32, bytes(o))]);
    else o.instruction('vmreadRegister', [wide(o, 'G'), o.slotAddress('E'), o.const(32, bytes(o))]);
  }, vmx),
  row('NP 0F 79', 'VMWRITE', 'Gy,Ey', 'f64', o => {
    o.instruction('vmwriteAdmit', [wide(o, 'G')]);
    const value = o.isMemory(1) ? o.zeroExtend(o.load(o.operandLinear(bytes(o), false), o.long ? 64 : 32), 64) : wide(o, 'E');
    o.instruction('vmwrite', [wide(o, 'G'), value]);
  }, vmx),
  row('66 0F 38 80', 'INVEPT', 'Gy,M', 'mem f64', invalidate('invept', 50), vmx),
  row('66 0F 38 81', 'INVVPID', 'Gy,M', 'mem f64', invalidate('invvpid', 53), vmx),
];
