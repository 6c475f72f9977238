/** CMPXCHG8B and CMPXCHG16B (@sdm 2A CMPXCHG8B): the destination takes a write cycle in either case. */
import { BOUNCE, GPR } from '../layout';
import { commitWrite, hostForUpdate } from './access';
import { setZF } from './flags';
import { FAULTED, OK, raiseError } from './status';

const RAX: usize = GPR;
const RCX: usize = GPR + 8;
const RDX: usize = GPR + 16;
const RBX: usize = GPR + 24;

export function cmpxchg8b(la: u64): i32 {
  const host = hostForUpdate(la, 8);
  if (!host) return FAULTED;
  const expected = (<u64>load<u32>(RDX) << 32) | <u64>load<u32>(RAX);
  const replacement = (<u64>load<u32>(RCX) << 32) | <u64>load<u32>(RBX);
  let found: u64;
  if (host & 7) {
    found = load<u64>(host);
    store<u64>(host, found == expected ? replacement : found);
  } else {
    found = atomic.cmpxchg<u64>(host, expected, replacement);
  }
  if (host == BOUNCE) commitWrite();
  if (found != expected) {
    store<u64>(RAX, found & 0xffffffff);
    store<u64>(RDX, found >> 32);
  }
  setZF(found == expected);
  return OK;
}

export function cmpxchg16b(la: u64): i32 {
  if (la & 15) return raiseError(13, 0);
  const host = hostForUpdate(la, 16);
  if (!host) return FAULTED;
  const low = load<u64>(host);
  const high = load<u64>(host, 8);
  const equal = low == load<u64>(RAX) && high == load<u64>(RDX);
  if (equal) {
    store<u64>(host, load<u64>(RBX));
    store<u64>(host, load<u64>(RCX), 8);
  } else {
    store<u64>(RAX, low);
    store<u64>(RDX, high);
  }
  if (host == BOUNCE) commitWrite();
  setZF(equal);
  return OK;
}
