/** Instructions that save and restore x87, SSE and extended state; the helpers of core/cpu/assembly/{fxsave,xsave}.ts check and copy. */
import type { Definition } from '../ops.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { MXCSR } from '../../cpu/layout.ts';

/** `helper(linear, operand size)`; the helper checks alignment and probes the whole area. */
const save = (helper: string, bytes: number, write: boolean): Definition => o =>
  o.instruction(helper, [o.operandLinear(bytes, write), o.const(32, o.opSize / 8)]);

export const saveRows: readonly RowSpec[] = [
  row('NP 0F AE /0', 'FXSAVE', 'M', 'mem size', save('fxsave', 512, true)),
  row('NP 0F AE /1', 'FXRSTOR', 'M', 'mem size', save('fxrstor', 512, false)),
  row('NP 0F AE /2', 'LDMXCSR', 'Md', 'mem sse', o => o.instruction('ldmxcsr', [o.src(0)])),
  row('NP 0F AE /3', 'STMXCSR', 'Md', 'mem sse', o => o.write(0, o.state(MXCSR, 32))),
  row('NP 0F AE /4', 'XSAVE', 'M', 'mem size', save('xsave', 576, true), { feature: 'xsave' }),
  row('NP 0F AE /5', 'XRSTOR', 'M', 'mem size', save('xrstor', 576, false), { feature: 'xsave' }),
  row('NP 0F AE /6', 'XSAVEOPT', 'M', 'mem size', save('xsaveopt', 576, true), { feature: 'xsave' }),
  row('NP 0F C7 /3', 'XRSTORS', 'M', 'mem size cpl0', save('xrstors', 576, false), { feature: 'xsave' }),
  row('NP 0F C7 /4', 'XSAVEC', 'M', 'mem size', save('xsavec', 576, true), { feature: 'xsave' }),
  row('NP 0F C7 /5', 'XSAVES', 'M', 'mem size cpl0', save('xsaves', 576, true), { feature: 'xsave' }),
];
