/** INS and OUTS (@sdm 2A INS, 2B OUTS); parameters as in strings.ts. Each element is one port access by root mode. */
import { ES, GPR } from '../layout';
import { probeWrite, readU16, readU32, readU8, writeU16, writeU32, writeU8 } from './access';
import { linearAddress, segmentAddress } from './address';
import { portRead, portWrite } from './imports';
import { ioPermission, NOTHING, rootPortExits } from './io';
import { faulted, FAULTED, OK } from './status';
import { stringPortExit } from './vm-controls';
import { advance, backward, index, quantum, RCX, RDI, resume, RSI, setIndex } from './string-registers';

const RDX: usize = GPR + 2 * 8;

/** An operand size of 8 bytes does not exist for ports: REX.W is ignored. */
// @ts-ignore: decorator
@inline
function portSize(size: i32): i32 {
  return size == 8 ? 4 : size;
}

/** What a nested guest's hypervisor hears of before the first element. `direction`: 8 = input. */
function guestExit(port: u32, size: i32, direction: i32, rep: i32, linear: u64, addressSize: i32, segment: i32): i32 {
  return stringPortExit(port, size, u64(u32(size - 1 | direction | 0x10 | (rep ? 0x20 : 0)) | (port << 16)), linear, addressSize, segment);
}

function inElement(port: u32, size: i32, addressSize: i32): bool {
  const la = segmentAddress(ES, index(RDI, addressSize), size, 1);
  // What was read from the port would be lost in a fault of the store.
  if (faulted() || !probeWrite(la, size)) return false;
  const value = rootPortExits(port, size) ? portRead(port, size) : NOTHING;
  if (size == 1) writeU8(la, value);
  else if (size == 2) writeU16(la, value);
  else writeU32(la, value);
  return !faulted();
}

function outElement(port: u32, size: i32, addressSize: i32, segment: i32): bool {
  const la = segmentAddress(segment, index(RSI, addressSize), size, 0);
  if (faulted()) return false;
  const value = size == 1 ? readU8(la) : size == 2 ? readU16(la) : readU32(la);
  if (faulted()) return false;
  if (rootPortExits(port, size)) portWrite(port, size, value);
  return true;
}

export function ins(operandSize: i32, addressSize: i32, segment: i32, rep: i32): i32 {
  const size = portSize(operandSize);
  const port: u32 = load<u16>(RDX);
  // Processors check the permission even when nothing is to be repeated.
  let status = ioPermission(port, size);
  let count: u64 = rep ? index(RCX, addressSize) : 1;
  if (status != OK || count == 0) return status;
  status = guestExit(port, size, 8, rep, linearAddress(ES, index(RDI, addressSize)), addressSize, ES);
  if (status != OK) return status;
  const down = backward();
  let left = min(count, quantum(size));
  while (left--) {
    if (!inElement(port, size, addressSize)) return FAULTED;
    advance(RDI, addressSize, 1, size, down);
    count--;
    if (rep) setIndex(RCX, addressSize, count);
  }
  return resume(count != 0);
}

export function outs(operandSize: i32, addressSize: i32, segment: i32, rep: i32): i32 {
  const size = portSize(operandSize);
  const port: u32 = load<u16>(RDX);
  let status = ioPermission(port, size);
  let count: u64 = rep ? index(RCX, addressSize) : 1;
  if (status != OK || count == 0) return status;
  status = guestExit(port, size, 0, rep, linearAddress(segment, index(RSI, addressSize)), addressSize, segment);
  if (status != OK) return status;
  const down = backward();
  let left = min(count, quantum(size));
  while (left--) {
    if (!outElement(port, size, addressSize, segment)) return FAULTED;
    advance(RSI, addressSize, 1, size, down);
    count--;
    if (rep) setIndex(RCX, addressSize, count);
  }
  return resume(count != 0);
}
