/** Minimises a case that differs, and writes it as bytes and inputs. */
import type { Case } from './layout.ts';
import { selectorNames } from './layout.ts';
import type { Difference, Session } from './session.ts';

const hex = (bytes: Uint8Array): string => [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join(' ');

const NAMES = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];

interface Reduction {
  readonly apply: (item: Case) => void;
}

/** Simplifications to try, one after the other: each input that does not matter becomes zero. */
function reductions(): Reduction[] {
  const list: Reduction[] = [];
  for (let i = 0; i < 16; i++) if (i !== 4) list.push({ apply: item => item.setGpr(i, 0n) });
  for (let i = 0; i < 16; i++) list.push({ apply: item => item.fx.fill(0, 160 + i * 16, 176 + i * 16) });
  for (let i = 0; i < 8; i++) list.push({ apply: item => item.fx.fill(0, 32 + i * 16, 42 + i * 16) });
  list.push({ apply: item => item.fxView.setUint16(2, 0, true) });
  list.push({ apply: item => { item.fx[4] = 0; } });
  list.push({ apply: item => item.fxView.setUint16(0, 0x37f, true) });
  list.push({ apply: item => item.fxView.setUint32(24, 0x1f80, true) });
  for (let bit = 0; bit < 12; bit++) if (bit !== 1 && bit !== 8 && bit !== 9) list.push({ apply: item => { item.flags &= ~(1 << bit); } });
  for (const index of [0, 1] as const) {
    list.push({ apply: item => item.setPatch(index, item.patches[index]!.address, new Uint8Array(item.patches[index]!.data.length)) });
    list.push({ apply: item => item.setPatch(index, 0n, new Uint8Array(0)) });
  }
  return list;
}

/** The case with every input that is not needed for the difference taken away. */
function minimised(session: Session, difference: Difference): Case {
  let best = difference.item;
  const { row } = session.generator.case(difference.number);
  const differs = (item: Case): boolean => session.compare({ item, row }, difference.number).some(other => other.between === difference.between);
  if (!differs(best)) return best;
  for (const { apply } of reductions()) {
    const simpler = best.copy();
    apply(simpler);
    if (Buffer.compare(simpler.bytes, best.bytes) !== 0 && differs(simpler)) best = simpler;
  }
  return best;
}

export function describeCase(session: Session, difference: Difference): string {
  const item = minimised(session, difference);
  const after = session.compare({ item, row: session.generator.case(difference.number).row }, difference.number)
    .find(other => other.between === difference.between);
  const lines = [
    `  ${item.codeSize}-bit code at ${item.codeAddress.toString(16)}: ${hex(item.code)}${item.stepped ? ' (stepped)' : ''}`,
    `  flags=${item.flags.toString(16)} ${NAMES.map((name, i) => [name, item.gpr(i)] as const).filter(([, value]) => value !== 0n).map(([name, value]) => `${name}=${value.toString(16)}`).join(' ')}`,
  ];
  if (item.codeSize !== 64) lines.push(`  ${selectorNames.map(name => `${name}=${item.selector(name).toString(16)}`).join(' ')}`);
  if (item.fsBase || item.gsBase) lines.push(`  fs=${item.fsBase.toString(16)} gs=${item.gsBase.toString(16)}`);
  const vectors = [...Array(16).keys()].filter(i => item.fx.subarray(160 + i * 16, 176 + i * 16).some(byte => byte !== 0));
  for (const i of vectors) lines.push(`  xmm${i}=${hex(item.fx.subarray(160 + i * 16, 176 + i * 16))}`);
  const stack = [...Array(8).keys()].filter(i => item.fx.subarray(32 + i * 16, 42 + i * 16).some(byte => byte !== 0));
  for (const i of stack) lines.push(`  st${i}=${hex(item.fx.subarray(32 + i * 16, 42 + i * 16))}`);
  const word = (at: number): string => item.fxView.getUint16(at, true).toString(16);
  lines.push(`  fcw=${word(0)} fsw=${word(2)} tags=${item.fx[4]!.toString(16)} mxcsr=${item.fxView.getUint32(24, true).toString(16)}`);
  for (const { address, data } of item.patches) if (data.length > 0) lines.push(`  at ${address.toString(16)}: ${hex(data)}`);
  for (const line of after?.lines ?? []) lines.push(`  minimised: ${line}`);
  return lines.join('\n');
}
