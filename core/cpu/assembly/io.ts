/** IN and OUT: permission, then a VM exit that root mode completes. @sdm 1 19.5 */
import { CR0_PE } from './bits';
import { accessOf, baseOf, limitOf, linear } from './descriptors';
import { iopl, virtual8086 } from './flags';
import { sysReadU16 } from './memory';
import { FAULTED, OK, exit, faulted, raiseError } from './status';
import { portExit } from './vm-controls';
import { PRIMARY_IO_BITMAPS } from '../../vmx/control-bits';
import { CPL, CR0, GPR, ROOT_IO_BITMAPS, ROOT_PRIMARY, TR } from '../layout';

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

/** Whether root mode's I/O bitmaps ask for an exit; an access that wraps around exits always. @sdm 3C 26.1.3 */
export function rootPortExits(port: u32, size: i32): bool {
  const first = port & 0xffff;
  if (!(load<u32>(ROOT_PRIMARY) & PRIMARY_IO_BITMAPS) || first + u32(size) > 0x10000) return true;
  for (let each = first; each < first + u32(size); each++) {
    if ((load<u8>(ROOT_IO_BITMAPS + (each >>> 3)) >>> (each & 7)) & 1) return true;
  }
  return false;
}

/** The permission, then the exit that the guest's hypervisor asks for, then root mode's; OK when nobody does. */
function portAccess(port: u32, size: i32, qualification: u64): i32 {
  const permission = ioPermission(port, size);
  if (permission != OK) return permission;
  const status = portExit(port, size, qualification);
  if (status != OK || !rootPortExits(port, size)) return status;
  return exit(EXIT_IO, qualification);
}

/** What a port reads as that root mode leaves to the guest: nothing but root mode's devices is on the bus. */
export const NOTHING: u32 = 0xffffffff;

/** IN AL/AX/EAX; `immediate` is nonzero when the port is an immediate operand. */
export function portIn(port: u32, size: i32, immediate: i32): i32 {
  const status = portAccess(port, size, qualification(port, size, 1, immediate));
  if (status != OK) return status;
  if (size == 4) store<u64>(GPR, NOTHING);
  else if (size == 2) store<u16>(GPR, <u16>NOTHING);
  else store<u8>(GPR, <u8>NOTHING);
  return OK;
}

export function portOut(port: u32, size: i32, immediate: i32): i32 {
  return portAccess(port, size, qualification(port, size, 0, immediate));
}
