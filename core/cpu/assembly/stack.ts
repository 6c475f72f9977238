/** PUSHA, POPA, ENTER. */
import { push, segmentAddress } from './address';
import { frameBegin, frameFitsHere, framePush, frameStoreHere, stackPeek, writeStackPointer } from './frame';
import { probeWrite, readU16, readU32, readU64 } from './memory';
import { FAULTED, OK, faulted } from './status';
import { GPR, HELPER_STATE, SS, STACK_SIZE } from '../layout';

const RSP: usize = GPR + 32;
const RBP: usize = GPR + 40;
/** Values POPA has read and not yet loaded. */
const POPPED: usize = HELPER_STATE + 0x280;

/** Writes a register of operand size 2, 4 or 8. */
function writeRegister(at: usize, value: u64, opSize: i32): void {
  if (opSize == 2) store<u16>(at, u16(value));
  else store<u64>(at, opSize == 4 ? value & 0xffffffff : value);
}

/** PUSHA, PUSHAD: AX CX DX BX, the SP of before, BP SI DI. */
export function pusha(opSize: i32): i32 {
  frameBegin();
  for (let i: u32 = 0; i < 8; i++) framePush(load<u64>(GPR + (i << 3)));
  return frameFitsHere(opSize, 0) && frameStoreHere(opSize) ? OK : FAULTED;
}

/** POPA, POPAD: SP is skipped. */
export function popa(opSize: i32): i32 {
  for (let i: u32 = 0; i < 8; i++) {
    if (i == 3) continue;
    store<u64>(POPPED + (i << 3), stackPeek(i * opSize, opSize));
    if (faulted()) return FAULTED;
  }
  for (let i: u32 = 0; i < 8; i++) if (i != 3) writeRegister(GPR + ((7 - i) << 3), load<u64>(POPPED + (i << 3)), opSize);
  writeStackPointer(load<u64>(RSP) + u64(opSize * 8));
  return OK;
}

/** ENTER: the display of `level` - 1 outer frames, then `size` bytes of locals. A fault changes neither RSP nor RBP. @sdm 2A ENTER */
export function enter(size: i32, levelIn: i32, opSize: i32): i32 {
  const level = levelIn & 31;
  const before = load<u64>(RSP);
  const width = load<u32>(STACK_SIZE);
  const mask: u64 = width == 2 ? u64.MAX_VALUE : width == 1 ? 0xffffffff : 0xffff;
  push(load<u64>(RBP), opSize);
  const frame = load<u64>(RSP);
  let outer = load<u64>(RBP);
  for (let i = 1; i < level && !faulted(); i++) {
    outer -= opSize;
    const address = segmentAddress(SS, outer & mask, opSize, 0);
    if (faulted()) break;
    const value = opSize == 8 ? readU64(address) : opSize == 4 ? u64(readU32(address)) : u64(readU16(address));
    if (!faulted()) push(value, opSize);
  }
  if (level > 0 && !faulted()) push(frame, opSize);
  // The final stack pointer must be one that could be written to.
  const top = load<u64>(RSP) - u64(u32(size) & 0xffff);
  if (!faulted()) {
    const address = segmentAddress(SS, top & mask, opSize, 1);
    if (!faulted()) probeWrite(address, opSize);
  }
  if (faulted()) {
    store<u64>(RSP, before);
    return FAULTED;
  }
  writeStackPointer(top);
  writeRegister(RBP, frame, opSize);
  return OK;
}
