/** What all string instructions share: index and count registers by address size, element access, stepping, flags of a comparison. */
import { AUX_COMPARED, AUX_DERIVED, AUX_SHORT, CODE_SIZE, EFLAGS, F_CX, F_CY, F_RES, GPR, HELPER_STATE, RIP, STEP_REASON, TLB_BASE, TLB_READ, TLB_WRITE } from '../layout';
import { linearAddress, segmentAllows } from './address';
import { storeAux } from './flags';
import { JUMP, OK } from './status';
import { dataEntry, translates } from './tlb';

export const RCX: usize = GPR + 8;
export const RSI: usize = GPR + 6 * 8;
export const RDI: usize = GPR + 7 * 8;

const EFLAGS_DF: u32 = 1 << 10;
/** Bytes a repeated instruction may move before interrupts are looked for again. */
const QUANTUM: u64 = 0x10000;

// @ts-ignore: decorator
@inline
export function backward(): bool {
  return (load<u32>(EFLAGS) & EFLAGS_DF) != 0;
}

/** A register as far as the address size (2, 4, 8 bytes) goes. */
// @ts-ignore: decorator
@inline
export function index(register: usize, addressSize: i32): u64 {
  return addressSize == 8 ? load<u64>(register) : addressSize == 4 ? load<u32>(register) : load<u16>(register);
}

// @ts-ignore: decorator
@inline
export function setIndex(register: usize, addressSize: i32, value: u64): void {
  if (addressSize == 8) store<u64>(register, value);
  else if (addressSize == 4) store<u64>(register, <u64>(<u32>value));
  else store<u16>(register, <u16>value);
}

/**
 * Writes a register as the address size has it. With 32-bit addresses Intel's processors begin a repeated instruction so with ECX, MOVS
 * with ESI and EDI and STOS with EDI too: the upper halves are zero even when it faults at once or repeats nothing.
 */
export function truncate(register: usize, addressSize: i32): void {
  setIndex(register, addressSize, index(register, addressSize));
}

/** Iterations that a repeated instruction is to do. */
export function counted(addressSize: i32): u64 {
  truncate(RCX, addressSize);
  return index(RCX, addressSize);
}

/** Iterations this call may do: all of a short string, one while single-stepping. */
// @ts-ignore: decorator
@inline
export function quantum(size: i32): u64 {
  return load<u32>(STEP_REASON) ? 1 : QUANTUM / size;
}

/** u32, u64: whether the last repeated instruction has iterations left, and its RIP. */
export const REPEATING: usize = HELPER_STATE + 0x3e0;
export const REPEATING_RIP: usize = HELPER_STATE + 0x3e8;

/** Status after a repeated instruction has done its share: it starts again at its own RIP while iterations remain. */
// @ts-ignore: decorator
@inline
export function resume(remaining: bool): i32 {
  store<u32>(REPEATING, u32(remaining));
  if (!remaining) return OK;
  store<u64>(REPEATING_RIP, load<u64>(RIP));
  return JUMP;
}

/** Elements from `offset` on, in the direction of DF, that lie below the wrap of the address size, at most `count`. */
function beforeWrap(offset: u64, size: u64, addressSize: i32, down: bool, count: u64): u64 {
  // The top of the 64-bit address space is the end of a page, which bounds the run anyway.
  if (addressSize == 8) return count;
  const end: u64 = addressSize == 4 ? 0x100000000 : 0x10000;
  if (offset + size > end) return 0;
  return min(count, down ? offset / size + 1 : (end - offset) / size);
}

/** Elements from `la` on, in the direction of DF, that lie wholly in its page, at most `count`. */
function inPage(la: u64, size: u64, down: bool, count: u64): u64 {
  const offset = la & 0xfff;
  if (offset + size > 4096) return 0;
  return min(count, down ? offset / size + 1 : (4096 - offset) / size);
}

/** Host address of the element that `run` was last asked about. */
export let runHost: u32 = 0;

/**
 * How many elements of a string, at most `count`, starting with the one at segment:offset, lie in one page whose look-aside entry allows
 * the access and inside the segment; their first is then at `runHost`. 0: do one element with all checks, which fills the entry.
 */
export function run(segment: i32, offset: u64, size: u64, addressSize: i32, write: bool, down: bool, count: u64): u64 {
  let n = beforeWrap(offset, size, addressSize, down, count);
  if (n == 0) return 0;
  const la = linearAddress(segment, offset);
  n = inPage(la, size, down, n);
  if (n == 0) return 0;
  const entry = dataEntry(load<u32>(TLB_BASE), la);
  if (!translates(entry + (write ? TLB_WRITE : TLB_READ), la & ~0xfff)) return 0;
  if (load<u32>(CODE_SIZE) != 2) {
    const first = down ? offset - (n - 1) * size : offset;
    if (!segmentAllows(segment, first, n * size, write ? 1 : 0)) return 0;
  }
  runHost = <u32>la + (write ? load<u32>(entry, TLB_WRITE + 8) : load<u32>(entry, TLB_READ + 8));
  return n;
}

/** An index register after `n` elements. */
// @ts-ignore: decorator
@inline
export function advance(register: usize, addressSize: i32, n: u64, size: u64, down: bool): void {
  const distance = n * size;
  setIndex(register, addressSize, index(register, addressSize) + (down ? 0 - distance : distance));
}

/** The status flags of a - b, of whose operands `size` bytes count. */
export function compareFlags(a: u64, b: u64, size: i32): void {
  const short: i64 = 64 - (size << 3);
  store<i64>(F_RES, <i64>((a - b) << short) >> short);
  store<i64>(F_CX, <i64>(a << short) >> short);
  store<i64>(F_CY, <i64>(b << short) >> short);
  storeAux(AUX_DERIVED | AUX_COMPARED | (<u32>short << AUX_SHORT), 0);
}
