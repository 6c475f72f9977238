import { describe, expect, it } from 'vitest';
import { Decoder } from '../../core/isa/decoder.ts';
import { invalidRow, rows } from '../../core/isa/table/index.ts';

const decode = (code: readonly number[], size: 16 | 32 | 64) => new Decoder(rows, invalidRow).decode(Uint8Array.from([...code, ...new Array<number>(16).fill(0x90)]), 0, code.length + 16, size);

describe('moves of control and debug registers', () => {
  it('take ModRM for two registers, whatever mod says, and have no SIB byte or displacement', () => {
    for (const size of [16, 32, 64] as const) {
      for (const opcode of [0x20, 0x21, 0x22, 0x23]) {
        for (const mod of [0x00, 0x40, 0x80, 0xc0]) {
          const { row, length, memory, e, g } = decode([0x0f, opcode, mod | 0x04], size);
          expect([row.name, length, memory, e], `0F ${opcode.toString(16)} with mod ${mod >> 6}`).toEqual(['MOV', 3, false, decode([0x0f, opcode, 0xc4], size).e]);
          expect(g).toBe(decode([0x0f, opcode, 0xc4], size).g);
        }
      }
    }
  });

  it('are nothing else with other registers in between: MOVMSKPS of memory is undefined', () => {
    expect(decode([0x0f, 0x50, 0x04, 0x24], 64).row).toBe(invalidRow);
  });
});
