/** IN and OUT: permission, then a VM exit that root mode completes. @sdm 1 19.5 */
import { CR0_PE } from './bits';
import { accessOf, baseOf, limitOf, linear } from './descriptors';
import { iopl, virtual8086 } from './flags';
import { sysReadU16 } from './memory';
import { FAULTED, OK, exit, faulted, raiseError } from './status';
import { portExit } from './vm-controls';
import { CPL, CR0, TR } from '../layout';

const EXIT_IO: u32 = 30;

/** OK when `size` bytes from `port` may be accessed: by IOPL, or by the I/O permission bitmap of a 32- or 64-bit TSS; else #GP(0). */
export function ioPermission(port: u32, size: i32): i32 {
  if (!(load<u64>(CR0) & CR0_PE) || (load<u32>(CPL) <= iopl() && !virtual8086())) return OK;
  const limit = limitOf(TR);
  if (!(accessOf(TR) & 8) || limit < 103) return raiseError(13, 0);
  const map = sysReadU16(linear(baseOf(TR) + 102));
  if (faulted()) return FAULTED;
  // Two bytes are always read, so that an access that crosses a byte of the map is one check.
  const at = map + ((port & 0xffff) >>> 3);
  if (at + 1 > limit) return raiseError(13, 0);
  const bits = sysReadU16(linear(baseOf(TR) + u64(at)));
  if (faulted()) return FAULTED;
  return (bits >>> (port & 7)) & ((1 << size) - 1) ? raiseError(13, 0) : OK;
}

/** Exit qualification of an I/O instruction. @sdm 3C 28.2.1, table 28-5 */
// @ts-ignore: decorator
@inline
export function qualification(port: u32, size: i32, input: u32, immediate: i32): u64 {
  return u64(u32(size - 1) | (input << 3) | (u32(immediate != 0) << 6) | ((port & 0xffff) << 16));
}

function portAccess(port: u32, size: i32, qualification: u64): i32 {
  const status = portExit(port, size, qualification);
  return status == OK ? exit(EXIT_IO, qualification) : status;
}

/** IN AL/AX/EAX; `immediate` is nonzero when the port is an immediate operand. */
export function portIn(port: u32, size: i32, immediate: i32): i32 {
  const status = ioPermission(port, size);
  return status == OK ? portAccess(port, size, qualification(port, size, 1, immediate)) : status;
}

export function portOut(port: u32, size: i32, immediate: i32): i32 {
  const status = ioPermission(port, size);
  return status == OK ? portAccess(port, size, qualification(port, size, 0, immediate)) : status;
}
