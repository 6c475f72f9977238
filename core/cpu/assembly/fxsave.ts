import { CODE_SIZE, CR0, FCS, FCW, FDP, FDS, FIP, FOP, FSW, FTAGS, MXCSR, X87, XMM } from '../layout';
import { readU16, readU32, readU64, readU8, writeU16, writeU32, writeU64 } from './memory';
import { faulted, FAULTED, OK, raise, raiseError } from './status';
import { FCW_DEFINED, probeRange } from './x87-environment';
import { top, updateSummary } from './x87-state';

/** The legacy region of the save area: FXSAVE, FXRSTOR and components 0 and 1 of XSAVE. @sdm 1 10.5.1, 13.4.1 */

/** Bits of MXCSR that exist; also the MXCSR_MASK that FXSAVE stores. */
export const MXCSR_DEFINED: u32 = 0xffff;
export const MXCSR_RESET: u32 = 0x1f80;

/** LDMXCSR: #GP(0) for reserved bits. */
export function ldmxcsr(value: u32): i32 {
  if (value & ~MXCSR_DEFINED) return raiseError(13, 0);
  store<u32>(MXCSR, value);
  return OK;
}

/** XMM registers that the current mode has. */
// @ts-ignore: decorator
@inline
export function vectorRegisters(): u32 {
  return load<u32>(CODE_SIZE) == 2 ? 16 : 8;
}

/** Bytes 0 to 23 and ST(0) to ST(7). The range has been probed. */
export function saveX87(area: u64, wide: bool): void {
  writeU16(area, load<u16>(FCW));
  writeU16(area + 2, load<u16>(FSW));
  writeU16(area + 4, load<u8>(FTAGS));
  writeU16(area + 6, load<u16>(FOP));
  if (wide) {
    writeU64(area + 8, load<u64>(FIP));
    writeU64(area + 16, load<u64>(FDP));
  } else {
    writeU32(area + 8, <u32>load<u64>(FIP));
    writeU32(area + 12, load<u16>(FCS));
    writeU32(area + 16, <u32>load<u64>(FDP));
    writeU32(area + 20, load<u16>(FDS));
  }
  const first = top();
  for (let i: u32 = 0; i < 8; i++) {
    const source = X87 + ((first + i & 7) << 4);
    writeU64(area + 32 + (i << 4), load<u64>(source));
    writeU64(area + 40 + (i << 4), load<u16>(source + 8));
  }
}

export function saveMxcsr(area: u64): void {
  writeU32(area + 24, load<u32>(MXCSR));
  writeU32(area + 28, MXCSR_DEFINED);
}

export function saveXmm(area: u64): void {
  const count = vectorRegisters();
  for (let i: u32 = 0; i < count; i++) {
    const source = XMM + (i << 4);
    writeU64(area + 160 + (i << 4), load<u64>(source));
    writeU64(area + 168 + (i << 4), load<u64>(source + 8));
  }
}

/** The range has been read before, so that nothing can fault any more. */
export function restoreX87(area: u64, wide: bool): void {
  store<u16>(FCW, (readU16(area) & FCW_DEFINED) | 0x40);
  store<u16>(FSW, readU16(area + 2));
  store<u8>(FTAGS, readU8(area + 4));
  store<u16>(FOP, readU16(area + 6) & 0x7ff);
  if (wide) {
    store<u64>(FIP, readU64(area + 8));
    store<u64>(FDP, readU64(area + 16));
    store<u16>(FCS, 0);
    store<u16>(FDS, 0);
  } else {
    store<u64>(FIP, readU32(area + 8));
    store<u16>(FCS, readU16(area + 12));
    store<u64>(FDP, readU32(area + 16));
    store<u16>(FDS, readU16(area + 20));
  }
  const first = top();
  for (let i: u32 = 0; i < 8; i++) {
    const target = X87 + ((first + i & 7) << 4);
    store<u64>(target, readU64(area + 32 + (i << 4)));
    store<u16>(target + 8, readU16(area + 40 + (i << 4)));
  }
  updateSummary();
}

export function restoreXmm(area: u64): void {
  const count = vectorRegisters();
  for (let i: u32 = 0; i < count; i++) {
    const target = XMM + (i << 4);
    store<u64>(target, readU64(area + 160 + (i << 4)));
    store<u64>(target + 8, readU64(area + 168 + (i << 4)));
  }
}

/** Touches every page of a range; false when a read faults. */
export function readable(linear: u64, size: u32): bool {
  readU8(linear);
  if (faulted()) return false;
  const last = linear + size - 1;
  if ((linear ^ last) < 0x1000) return true;
  readU8(last & ~(<u64>0xfff));
  return !faulted();
}

/** Size of the region that FXSAVE and FXRSTOR access. */
const FXSAVE_SIZE: u32 = 512;

/** FXSAVE. `opSize` 8 = REX.W: 64-bit FIP and FDP without selectors. */
export function fxsave(linear: u64, opSize: i32): i32 {
  if (load<u32>(CR0) & 0xc) return raise(7);
  if (linear & 15) return raiseError(13, 0);
  if (!probeRange(linear, FXSAVE_SIZE)) return FAULTED;
  saveX87(linear, opSize == 8);
  saveMxcsr(linear);
  saveXmm(linear);
  return faulted() ? FAULTED : OK;
}

/** FXRSTOR. */
export function fxrstor(linear: u64, opSize: i32): i32 {
  if (load<u32>(CR0) & 0xc) return raise(7);
  if (linear & 15) return raiseError(13, 0);
  if (!readable(linear, FXSAVE_SIZE)) return FAULTED;
  const control = readU32(linear + 24);
  if (control & ~MXCSR_DEFINED) return raiseError(13, 0);
  store<u32>(MXCSR, control);
  restoreX87(linear, opSize == 8);
  restoreXmm(linear);
  return OK;
}
