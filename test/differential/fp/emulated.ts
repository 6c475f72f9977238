/** The same cases on the helpers: FXRSTOR, the helper that the decoder would call, FXSAVE. */
import * as L from '../../../core/cpu/layout.ts';
import type { CpuWasm } from '../../helpers/cpu-wasm.ts';
import { IMAGE_SIZE, MEMORY_SIZE } from './native.ts';
import type { Case, Outcome } from './native.ts';

const IMAGE = 0x2000;
const RESULT = 0x3000;
export const OPERAND = 0x4000;

const SIGNAL: Readonly<Record<number, number>> = { 6: 4, 13: 11, 16: 8, 19: 8 };

/** Sets up 64-bit mode with x87 and SSE usable, and FERR# not in the way (CR0.NE). */
export function prepare(cpu: CpuWasm): void {
  cpu.write32(L.CR0, 0x31);
  cpu.write32(L.CR4, 0x40600);
  cpu.write32(L.CODE_SIZE, 2);
  cpu.write64(L.EFER, 0x500n);
  cpu.write64(L.XCR0, 3n);
}

/** Executes `execute` in the state of a case; its result is ignored, FAULT says what happened. */
export function runEmulated(cpu: CpuWasm, one: Case, execute: (cpu: CpuWasm, one: Case) => void): Outcome {
  const ram = L.RAM_BASE;
  cpu.write32(L.FAULT, 0);
  cpu.bytes.set(one.image, ram + IMAGE);
  cpu.bytes.set(one.memory, ram + OPERAND);
  cpu.call('fxrstor', BigInt(IMAGE), 8);
  if (cpu.read32(L.FAULT) !== 0) throw new Error('the image of a case does not load');
  cpu.write64(L.GPR, one.rax);
  writeFlags(cpu, one.flags);
  execute(cpu, one);
  const fault = cpu.read32(L.FAULT);
  cpu.write32(L.FAULT, 0);
  cpu.call('fxsave', BigInt(RESULT), 8);
  return {
    fault: fault === 0 ? 0 : (SIGNAL[fault & 0xff] ?? -(fault & 0xff)),
    rax: cpu.read64(L.GPR),
    flags: readFlags(cpu),
    memory: cpu.bytes.slice(ram + OPERAND, ram + OPERAND + MEMORY_SIZE),
    image: cpu.bytes.slice(ram + RESULT, ram + RESULT + IMAGE_SIZE),
  };
}

/** Status flags by the definition of the lazy fields in layout.ts. */
export function readFlags(cpu: CpuWasm): bigint {
  const result = cpu.read64(L.F_RES);
  let parity = Number(result & 0xffn) ^ (cpu.read32(L.F_PARITY) & 0xff);
  parity ^= parity >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  let flags = 0n;
  if (cpu.read64(L.F_CX) < cpu.read64(L.F_CY)) flags |= 1n;
  if ((parity & 1) === 0) flags |= 4n;
  const x = cpu.read64(L.F_CX);
  const y = cpu.read64(L.F_CY);
  const difference = BigInt.asUintN(64, x - y);
  const aux = cpu.read32(L.F_AUX);
  flags |= (aux & L.AUX_DERIVED ? x ^ y ^ difference : BigInt(aux)) & 0x10n;
  if (result === 0n) flags |= 0x40n;
  if (result >> 63n !== 0n) flags |= 0x80n;
  if ((((x ^ y) & (x ^ difference)) << BigInt((aux >>> L.AUX_SHORT) & 63)) >> 63n & 1n) flags |= 0x800n;
  return flags;
}

function writeFlags(cpu: CpuWasm, flags: bigint): void {
  const zero = (flags & 0x40n) !== 0n;
  const result = zero ? 0n : (flags & 0x80n) !== 0n ? 0xffff_ffff_ffff_ff00n : 0x100n;
  cpu.write64(L.F_RES, result);
  // The low byte of the result is 0, of even parity.
  cpu.write32(L.F_PARITY, (flags & 4n) !== 0n ? 0 : 1);
  // Twice a number minus the number: the upper bits of that say both.
  const doubled = ((flags & 1n) << 63n) | (((flags ^ (flags >> 11n)) & 1n) << 62n);
  cpu.write64(L.F_CX, BigInt.asUintN(64, doubled << 1n));
  cpu.write64(L.F_CY, doubled);
  cpu.write32(L.F_AUX, Number(flags & 0x10n));
}
