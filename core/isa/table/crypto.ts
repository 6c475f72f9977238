/** AES, SHA, carry-less products, CRC32 and the string comparisons of SSE4.2 (SDM 1, 12.10 to 12.13). */
import type { Definition } from '../ops.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { byAddress, byteImmediate, sourceAddress } from '../vectors.ts';

const aes = { feature: 'aes' };
const sha = { feature: 'sha' };
const sse42 = { feature: 'sse4.2' };

const aesRound = (operation: number): Definition => byAddress('aesRound', o => [o.const(32, operation)]);
const withImmediate = (helper: string): Definition => byAddress(helper, o => [byteImmediate(o)]);

/** Lengths are implicit, or in EAX and EDX (RAX and RDX with REX.W); memory operands may lie anywhere. */
const compareStrings = (helper: string, explicit: boolean): Definition => o => {
  const lengths = !explicit ? 0 : o.form.rexW ? 2 : 1;
  const address = sourceAddress(o, 1, false);
  o.instruction(helper, [byteImmediate(o), o.const(32, lengths), o.slotAddress('G'), address]);
};

const crc32: Definition = o => {
  const value = o.src(1);
  const crc = o.call('crc32c', 32, [o.slot('G', 32), o.zeroExtend(value, 64), o.const(32, value.width / 8)]);
  o.write(0, o.resize(crc, o.width(0)));
};

export const cryptoRows: readonly RowSpec[] = [
  row('66 0F 38 DC', 'AESENC', 'Vdq,Wdq', 'sse', aesRound(0), aes), row('66 0F 38 DD', 'AESENCLAST', 'Vdq,Wdq', 'sse', aesRound(1), aes),
  row('66 0F 38 DE', 'AESDEC', 'Vdq,Wdq', 'sse', aesRound(2), aes), row('66 0F 38 DF', 'AESDECLAST', 'Vdq,Wdq', 'sse', aesRound(3), aes),
  row('66 0F 38 DB', 'AESIMC', 'Vdq,Wdq', 'sse', byAddress('aesInverseMix'), aes),
  row('66 0F 3A DF', 'AESKEYGENASSIST', 'Vdq,Wdq,Ib', 'sse', withImmediate('aesKeyAssist'), aes),
  row('66 0F 3A 44', 'PCLMULQDQ', 'Vdq,Wdq,Ib', 'sse', withImmediate('pclmulqdq'), { feature: 'pclmulqdq' }),

  row('NP 0F 3A CC', 'SHA1RNDS4', 'Vdq,Wdq,Ib', 'sse', withImmediate('sha1Rounds'), sha),
  row('NP 0F 38 C8', 'SHA1NEXTE', 'Vdq,Wdq', 'sse', byAddress('sha1NextE'), sha),
  row('NP 0F 38 C9', 'SHA1MSG1', 'Vdq,Wdq', 'sse', byAddress('sha1Message1'), sha),
  row('NP 0F 38 CA', 'SHA1MSG2', 'Vdq,Wdq', 'sse', byAddress('sha1Message2'), sha),
  row('NP 0F 38 CB', 'SHA256RNDS2', 'Vdq,Wdq', 'sse', byAddress('sha256Rounds'), sha),
  row('NP 0F 38 CC', 'SHA256MSG1', 'Vdq,Wdq', 'sse', byAddress('sha256Message1'), sha),
  row('NP 0F 38 CD', 'SHA256MSG2', 'Vdq,Wdq', 'sse', byAddress('sha256Message2'), sha),

  row('66 0F 3A 60', 'PCMPESTRM', 'Vdq,Wdq,Ib', 'sse rexw', compareStrings('compareStringsMask', true), sse42),
  row('66 0F 3A 61', 'PCMPESTRI', 'Vdq,Wdq,Ib', 'sse rexw', compareStrings('compareStringsIndex', true), sse42),
  row('66 0F 3A 62', 'PCMPISTRM', 'Vdq,Wdq,Ib', 'sse', compareStrings('compareStringsMask', false), sse42),
  row('66 0F 3A 63', 'PCMPISTRI', 'Vdq,Wdq,Ib', 'sse', compareStrings('compareStringsIndex', false), sse42),

  row('F2 0F 38 F0', 'CRC32', 'Gy,Eb', '', crc32, sse42), row('F2 0F 38 F1', 'CRC32', 'Gy,Ev', '', crc32, sse42),
];
