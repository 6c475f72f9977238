import { segmentAddress } from './address';
import { CODE_SIZE, FCS, FCW, FDP, FDS, FIP, FOP, FSW, FTAGS, REAL_SEGMENTS, X87 } from '../layout';
import { probeWrite, readU16, readU32, readU64, writeU16, writeU32, writeU64 } from './memory';
import { CLASS_NORMAL, CLASS_ZERO, classify } from './softfloat-extended';
import { faulted, FAULTED, OK } from './status';
import { top, updateSummary } from './x87-state';

/** FNSTENV, FLDENV, FNSAVE, FRSTOR, FNINIT in the four formats of the environment. @sdm 1 8.1.10 */

/** An image is read in full before any of it takes effect. */
const image: u32 = <u32>memory.data(112, 16);

/** FCW bits that exist; bit 6 reads as one. */
export const FCW_DEFINED: u32 = 0x1f3f;

export function loadControl(value: u32): void {
  store<u16>(FCW, (value & FCW_DEFINED) | 0x40);
  updateSummary();
}

/** FNINIT. */
export function initialize(): void {
  store<u16>(FCW, 0x37f);
  store<u16>(FSW, 0);
  store<u8>(FTAGS, 0);
  store<u16>(FOP, 0);
  store<u64>(FIP, 0);
  store<u64>(FDP, 0);
  store<u16>(FCS, 0);
  store<u16>(FDS, 0);
  updateSummary();
}

/** The tag word with two bits a physical register. */
export function tagWord(): u32 {
  const full = <u32>load<u8>(FTAGS);
  let word: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    const address = X87 + (i << 4);
    let tag: u32 = 3;
    if (full >> i & 1) {
      const kind = classify(load<u64>(address), load<u16>(address + 8));
      tag = kind == CLASS_NORMAL ? 0 : kind == CLASS_ZERO ? 1 : 2;
    }
    word |= tag << (i << 1);
  }
  return word;
}

function loadTagWord(word: u32): void {
  let full: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    if ((word >> (i << 1) & 3) != 3) full |= 1 << i;
  }
  store<u8>(FTAGS, full);
}

// @ts-ignore: decorator
@inline
function isReal(): bool {
  return load<u32>(REAL_SEGMENTS) != 0;
}

/** Size in bytes of an environment for an operand size of 2, 4 or 8 bytes. */
// @ts-ignore: decorator
@inline
export function environmentSize(opSize: i32): u32 {
  return opSize == 2 ? 14 : 28;
}

/** Builds the environment in the image buffer. */
function buildEnvironment(opSize: i32): void {
  const real = isReal();
  const fip = real ? <u32>load<u64>(FIP) + (<u32>load<u16>(FCS) << 4) : <u32>load<u64>(FIP);
  const fdp = real ? <u32>load<u64>(FDP) + (<u32>load<u16>(FDS) << 4) : <u32>load<u64>(FDP);
  const fop = <u32>load<u16>(FOP) & 0x7ff;
  if (opSize == 2) {
    store<u16>(image, load<u16>(FCW));
    store<u16>(image + 2, load<u16>(FSW));
    store<u16>(image + 4, tagWord());
    store<u16>(image + 6, fip);
    store<u16>(image + 8, real ? (fip >> 4 & 0xf000) | fop : <u32>load<u16>(FCS));
    store<u16>(image + 10, fdp);
    store<u16>(image + 12, real ? fdp >> 4 & 0xf000 : <u32>load<u16>(FDS));
    return;
  }
  store<u32>(image, 0xffff0000 | <u32>load<u16>(FCW));
  store<u32>(image + 4, 0xffff0000 | <u32>load<u16>(FSW));
  store<u32>(image + 8, 0xffff0000 | tagWord());
  if (real) {
    store<u32>(image + 12, 0xffff0000 | fip);
    store<u32>(image + 16, (fip >> 4 & 0x0ffff000) | fop);
    store<u32>(image + 20, 0xffff0000 | fdp);
    store<u32>(image + 24, fdp >> 4 & 0x0ffff000);
  } else {
    store<u32>(image + 12, fip);
    store<u32>(image + 16, <u32>load<u16>(FCS) | fop << 16);
    store<u32>(image + 20, fdp);
    store<u32>(image + 24, 0xffff0000 | <u32>load<u16>(FDS));
  }
}

function applyEnvironment(opSize: i32): void {
  const real = isReal();
  const wide = opSize != 2;
  const step: u32 = wide ? 4 : 2;
  store<u16>(FCW, (<u32>load<u16>(image) & FCW_DEFINED) | 0x40);
  store<u16>(FSW, load<u16>(image + step));
  loadTagWord(load<u16>(image + step * 2));
  const third = wide ? load<u32>(image + 12) : <u32>load<u16>(image + 6);
  const fourth = wide ? load<u32>(image + 16) : <u32>load<u16>(image + 8);
  const fifth = wide ? load<u32>(image + 20) : <u32>load<u16>(image + 10);
  const sixth = wide ? load<u32>(image + 24) : <u32>load<u16>(image + 12);
  if (real) {
    const mask: u32 = wide ? 0x0ffff000 : 0xf000;
    store<u64>(FIP, (third & 0xffff) | (fourth & mask) << 4);
    store<u64>(FDP, (fifth & 0xffff) | (sixth & mask) << 4);
    store<u16>(FCS, 0);
    store<u16>(FDS, 0);
    store<u16>(FOP, fourth & 0x7ff);
  } else {
    store<u64>(FIP, third);
    store<u64>(FDP, fifth);
    store<u16>(FCS, fourth);
    store<u16>(FDS, sixth);
    // The 16-bit protected format holds no opcode.
    store<u16>(FOP, wide ? fourth >> 16 & 0x7ff : 0);
  }
  updateSummary();
}

/** Whether every byte of a range may be written; a fault is pending when not. */
export function probeRange(linear: u64, size: u32): bool {
  if (!probeWrite(linear, 1)) return false;
  const last = linear + size - 1;
  return (linear ^ last) < 0x1000 || probeWrite(last & ~(<u64>0xfff), 1);
}

function writeImage(linear: u64, size: u32): i32 {
  if (!probeRange(linear, size)) return FAULTED;
  let at: u32 = 0;
  for (; at + 4 <= size; at += 4) {
    writeU32(linear + at, load<u32>(image + at));
    if (faulted()) return FAULTED;
  }
  if (at < size) writeU16(linear + at, load<u16>(image + at));
  return faulted() ? FAULTED : OK;
}

function readImage(linear: u64, size: u32): i32 {
  let at: u32 = 0;
  for (; at + 4 <= size; at += 4) {
    store<u32>(image + at, readU32(linear + at));
    if (faulted()) return FAULTED;
  }
  if (at < size) store<u16>(image + at, readU16(linear + at));
  return faulted() ? FAULTED : OK;
}

/** FNSTENV masks all exceptions once the environment is stored. */
export function storeEnvironment(linear: u64, opSize: i32): i32 {
  buildEnvironment(opSize);
  if (writeImage(linear, environmentSize(opSize)) != OK) return FAULTED;
  loadControl(<u32>load<u16>(FCW) | 0x3f);
  return OK;
}

export function loadEnvironment(linear: u64, opSize: i32): i32 {
  if (readImage(linear, environmentSize(opSize)) != OK) return FAULTED;
  applyEnvironment(opSize);
  return OK;
}

/** FNSAVE: environment, then ST(0) to ST(7), 10 bytes each; FNINIT follows. */
export function saveState(linear: u64, opSize: i32): i32 {
  const size = environmentSize(opSize);
  buildEnvironment(opSize);
  for (let i: u32 = 0; i < 8; i++) {
    const source = X87 + ((top() + i & 7) << 4);
    const target = image + size + i * 10;
    store<u64>(target, load<u64>(source));
    store<u16>(target + 8, load<u16>(source + 8));
  }
  if (writeImage(linear, size + 80) != OK) return FAULTED;
  initialize();
  return OK;
}

export function restoreState(linear: u64, opSize: i32): i32 {
  const size = environmentSize(opSize);
  if (readImage(linear, size + 80) != OK) return FAULTED;
  applyEnvironment(opSize);
  for (let i: u32 = 0; i < 8; i++) {
    const target = X87 + ((top() + i & 7) << 4);
    const source = image + size + i * 10;
    store<u64>(target, load<u64>(source));
    store<u16>(target + 8, load<u16>(source + 8));
  }
  return OK;
}

/** A 10-byte operand: significand as the result, sign and exponent through operandTop(). */
export function readExtended(linear: u64): u64 {
  const sig = readU64(linear);
  if (faulted()) return 0;
  topWord = readU16(linear + 8);
  return sig;
}

let topWord: u32 = 0;

// @ts-ignore: decorator
@inline
export function operandTop(): u32 {
  return topWord;
}

/**
 * Writes 10 bytes as Intel's processors do, first 8 and then 2: a fault of those leaves the first ones written. Segment checks are done for the first.
 * @param segment index of the segment register
 */
export function writeExtended(linear: u64, segment: i32, offset: u64, sig: u64, se: u32): void {
  writeU64(linear, sig);
  if (faulted()) return;
  const top = load<u32>(CODE_SIZE) == 2 ? linear + 8 : segmentAddress(segment, offset + 8, 2, 1);
  if (!faulted()) writeU16(top, se);
}
