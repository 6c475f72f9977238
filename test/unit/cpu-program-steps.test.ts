import { describe, expect, it } from 'vitest';
import { register as r } from '../../core/isa/registers.ts';
import { Guest, TIERS } from '../helpers/guest-program.ts';

/** INC and DEC leave CF to the instruction before, and OF to their result, until somebody looks. */
const CF = 0x1;
const OF = 0x800;
const WIDTHS = [[8, r.al], [16, r.ax], [32, r.eax], [64, r.rax]] as const;

/** The results of INC and DEC at which OF is set, and their neighbours. */
function operands(width: number): readonly bigint[] {
  const least = 1n << BigInt(width - 1);
  return [-1n, 0n, 1n, least - 2n, least - 1n, least, least + 1n].map(value => BigInt.asUintN(width, value));
}

describe.each(TIERS)('INC and DEC, regions %s', (tier) => {
  const cases = WIDTHS.flatMap(([width, register]) => (['INC', 'DEC'] as const).map(name => ({ width, register, name })));

  it.each(cases)('$name of $width bits: CF stays, OF is that of the result, for whoever looks', ({ width, register, name }) => {
    for (const value of operands(width)) {
      for (const carry of ['CLC', 'STC'] as const) {
        const guest = new Guest(tier);
        guest.run64(a => a
          .emit('MOV', r.r8, value).emit('MOV', r.rax, r.r8).emit('ADD', r.r9, r.r9).emit(carry).emit(name, register).emit('PUSHFQ').emit('POP', r.rbx)
          .emit('MOV', r.rax, r.r8).emit(carry).emit(name, register).emit('CMC').emit('PUSHFQ').emit('POP', r.rcx)
          .emit('MOV', r.rax, r.r8).emit(carry).emit(name, register).emit('MOV', r.edx, 0).emit('SETL', r.dl).emit('MOV', r.esi, 2).emit('JNO', 'none').emit('INC', r.esi)
          .label('none').emit('HLT'));
        const result = BigInt.asIntN(width, value + (name === 'INC' ? 1n : -1n));
        const overflow = name === 'INC' ? result === -(1n << BigInt(width - 1)) : result === (1n << BigInt(width - 1)) - 1n;
        const wanted = (overflow ? OF : 0) | (carry === 'STC' ? CF : 0);
        const seen = [guest.get('rbx') & (OF | CF), guest.get('rcx') & (OF | CF), guest.get('rdx'), guest.get('rsi')];
        expect(seen, `${value.toString(16)}, ${carry}`).toEqual([wanted, wanted ^ CF, Number((result < 0n) !== overflow), overflow ? 3 : 2]);
      }
    }
  });
});
