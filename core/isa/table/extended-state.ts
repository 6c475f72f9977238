/** Saving and restoring the x87, SSE and extended state (SDM 1, 10.5, 13), and MXCSR. */
import { privileged } from '../prechecks.ts';
import type { Definition } from '../ops.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { MXCSR } from '../../cpu/layout.ts';

/** Bytes that a segment must hold: the FXSAVE region, or that and the XSAVE header. */
const FXSAVE_BYTES = 512;
const XSAVE_BYTES = 576;

/** `helper(linear, bytes of an address)`: REX.W selects the 64-bit format. */
const area = (helper: string, bytes: number, write: boolean): Definition => o =>
  o.instruction(helper, [o.operandLinear(bytes, write), o.const(32, o.form.rexW ? 8 : 4)]);

const fxsr = { feature: 'fxsr' };
const xsave = { feature: 'xsave' };
const sse = { feature: 'sse' };

/** The privilege is checked before the operand's address. */
const supervisor = (define: Definition, restore: number): Definition => o => {
  privileged(o);
  o.instruction('supervisorStateExit', [o.const(32, restore)]);
  define(o);
};

export const extendedStateRows: readonly RowSpec[] = [
  row('NP 0F AE /0', 'FXSAVE', 'M', 'x87 mem rexw', area('fxsave', FXSAVE_BYTES, true), fxsr),
  row('NP 0F AE /1', 'FXRSTOR', 'M', 'x87 mem rexw', area('fxrstor', FXSAVE_BYTES, false), fxsr),
  row('NP 0F AE /2', 'LDMXCSR', 'Md', 'sse mem', o => o.instruction('ldmxcsr', [o.src(0)]), sse),
  row('NP 0F AE /3', 'STMXCSR', 'Md', 'sse mem', o => o.write(0, o.state(MXCSR, 32)), sse),
  row('NP 0F AE /4', 'XSAVE', 'M', 'xsave mem rexw', area('xsave', XSAVE_BYTES, true), xsave),
  row('NP 0F AE /5', 'XRSTOR', 'M', 'xsave mem rexw', area('xrstor', XSAVE_BYTES, false), xsave),
  row('NP 0F AE /6', 'XSAVEOPT', 'M', 'xsave mem rexw', area('xsaveopt', XSAVE_BYTES, true), xsave),
  row('NP 0F C7 /3', 'XRSTORS', 'M', 'xsave mem rexw', supervisor(area('xrstors', XSAVE_BYTES, false), 1), xsave),
  row('NP 0F C7 /4', 'XSAVEC', 'M', 'xsave mem rexw', area('xsavec', XSAVE_BYTES, true), xsave),
  row('NP 0F C7 /5', 'XSAVES', 'M', 'xsave mem rexw', supervisor(area('xsaves', XSAVE_BYTES, true), 0), xsave),
];
