/**
 * MOVS, STOS, LODS, CMPS, SCAS (@sdm 2 chapters 3 and 4). `size`: bytes of an element; `addressSize`: 2, 4, 8; `segment`: of the
 * source, for those that have one at SI; `rep`: 0 none, 1 REP or REPE, 2 REPNE. A repeated instruction does a bounded share and returns JUMP, RIP still its own, while iterations
 * remain. A fault leaves RCX, RSI and RDI as the completed iterations left them.
 */
import { ES, GPR } from '../layout';
import { readU16, readU32, readU64, readU8, writeU16, writeU32, writeU64, writeU8 } from './access';
import { segmentAddress } from './address';
import { faulted, FAULTED, OK } from './status';
import { advance, backward, compareFlags, counted, index, quantum, RCX, RDI, resume, RSI, run, runHost, setIndex, truncate } from './string-registers';

const REPE = 1;
const RAX: usize = GPR;

/** Element at segment:offset, zero-extended; test faulted(). */
function readElement(segment: i32, offset: u64, size: i32): u64 {
  const la = segmentAddress(segment, offset, size, 0);
  if (faulted()) return 0;
  return size == 1 ? <u64>readU8(la) : size == 2 ? <u64>readU16(la) : size == 4 ? <u64>readU32(la) : readU64(la);
}

function writeElement(offset: u64, size: i32, value: u64): void {
  const la = segmentAddress(ES, offset, size, 1);
  if (faulted()) return;
  if (size == 1) writeU8(la, <u32>value);
  else if (size == 2) writeU16(la, <u32>value);
  else if (size == 4) writeU32(la, <u32>value);
  else writeU64(la, value);
}

// @ts-ignore: decorator
@inline
function loadHost(host: u32, size: i32): u64 {
  return size == 1 ? <u64>load<u8>(host) : size == 2 ? <u64>load<u16>(host) : size == 4 ? <u64>load<u32>(host) : load<u64>(host);
}

// @ts-ignore: decorator
@inline
function storeHost(host: u32, size: i32, value: u64): void {
  if (size == 1) store<u8>(host, <u8>value);
  else if (size == 2) store<u16>(host, <u16>value);
  else if (size == 4) store<u32>(host, <u32>value);
  else store<u64>(host, value);
}

// ---- MOVS -------------------------------------------------------------------------------------------------------------------------

/** Copies `n` elements, the first at `from`, as so many single moves would, also where the two overlap. */
function copyRun(to: u32, from: u32, n: u32, size: i32, down: bool): void {
  let bytes = n * size;
  if (!down) {
    const distance = to - from;
    // A destination below the source, or past its end, cannot change what is yet to be read.
    if (distance >= bytes) memory.copy(to, from, bytes);
    else if (distance >= 64) {
      const piece = distance - (distance % size);
      for (; bytes > piece; bytes -= piece, to += piece, from += piece) memory.copy(to, from, piece);
      memory.copy(to, from, bytes);
    } else for (; n; n--, to += size, from += size) storeHost(to, size, loadHost(from, size));
    return;
  }
  if (from - to >= bytes) memory.copy(to - (bytes - size), from - (bytes - size), bytes);
  else for (; n; n--, to -= size, from -= size) storeHost(to, size, loadHost(from, size));
}

export function movs(size: i32, addressSize: i32, segment: i32, rep: i32): i32 {
  const down = backward();
  let count: u64 = rep ? counted(addressSize) : 1;
  if (rep) {
    truncate(RSI, addressSize);
    truncate(RDI, addressSize);
  }
  let left = min(count, quantum(size));
  while (left) {
    const source = index(RSI, addressSize);
    const target = index(RDI, addressSize);
    let n: u64 = 0;
    if (left > 1) {
      n = run(segment, source, size, addressSize, false, down, left);
      const from = runHost;
      if (n) n = run(ES, target, size, addressSize, true, down, n);
      if (n) copyRun(runHost, from, <u32>n, size, down);
    }
    if (!n) {
      const value = readElement(segment, source, size);
      if (faulted()) return FAULTED;
      writeElement(target, size, value);
      if (faulted()) return FAULTED;
      n = 1;
    }
    advance(RSI, addressSize, n, size, down);
    advance(RDI, addressSize, n, size, down);
    count -= n;
    left -= n;
    if (rep) setIndex(RCX, addressSize, count);
  }
  return resume(count != 0);
}

// ---- STOS -------------------------------------------------------------------------------------------------------------------------

/** `value` repeated over eight bytes. */
function pattern(value: u64, size: i32): u64 {
  if (size == 1) return <u64>(<u8>value) * 0x0101010101010101;
  if (size == 2) return <u64>(<u16>value) * 0x0001000100010001;
  if (size == 4) return <u64>(<u32>value) * 0x0000000100000001;
  return value;
}

/** Stores `bytes` bytes of a pattern from `host` on. */
function fillRun(host: u32, bytes: u32, repeated: u64): void {
  if (repeated == <u64>(<u8>repeated) * 0x0101010101010101) {
    memory.fill(host, <u8>repeated, bytes);
    return;
  }
  for (; bytes >= 8; bytes -= 8, host += 8) store<u64>(host, repeated);
  // The rest is a whole number of elements, of which the pattern's first bytes are the first.
  if (bytes & 4) {
    store<u32>(host, <u32>repeated);
    host += 4;
  }
  if (bytes & 2) store<u16>(host, <u16>repeated);
}

export function stos(size: i32, addressSize: i32, segment: i32, rep: i32): i32 {
  const down = backward();
  const value = load<u64>(RAX);
  let count: u64 = rep ? counted(addressSize) : 1;
  if (rep) truncate(RDI, addressSize);
  let left = min(count, quantum(size));
  while (left) {
    const target = index(RDI, addressSize);
    let n: u64 = left > 1 ? run(ES, target, size, addressSize, true, down, left) : 0;
    if (n) {
      const bytes = <u32>n * size;
      fillRun(down ? runHost - (bytes - size) : runHost, bytes, pattern(value, size));
    } else {
      writeElement(target, size, value);
      if (faulted()) return FAULTED;
      n = 1;
    }
    advance(RDI, addressSize, n, size, down);
    count -= n;
    left -= n;
    if (rep) setIndex(RCX, addressSize, count);
  }
  return resume(count != 0);
}

// ---- LODS -------------------------------------------------------------------------------------------------------------------------

export function lods(size: i32, addressSize: i32, segment: i32, rep: i32): i32 {
  const down = backward();
  let count: u64 = rep ? counted(addressSize) : 1;
  let left = min(count, quantum(size));
  while (left) {
    const value = readElement(segment, index(RSI, addressSize), size);
    if (faulted()) return FAULTED;
    if (size == 4) store<u64>(RAX, value);
    else storeHost(<u32>RAX, size, value);
    advance(RSI, addressSize, 1, size, down);
    count--;
    left--;
    if (rep) setIndex(RCX, addressSize, count);
  }
  return resume(count != 0);
}

// ---- CMPS, SCAS -------------------------------------------------------------------------------------------------------------------
// The flags are those of the last comparison. A fault, a trap or an interrupt between two iterations finds them as they were, as the
// manual has it for faults and Intel's processors for all.

/** Elements compared until one ends the repetition, at most `n`; equal ones go on with REPE, different ones with REPNE. */
function compareRun(a: u32, b: u32, n: u32, size: i32, rep: i32, down: bool): u32 {
  const step: u32 = down ? 0 - size : size;
  const equalGoesOn = rep == REPE;
  let done: u32 = 0;
  while (done < n) {
    const equal = loadHost(a, size) == loadHost(b, size);
    done++;
    if (equal != equalGoesOn) break;
    a += step;
    b += step;
  }
  return done;
}

function scanRun(value: u64, b: u32, n: u32, size: i32, rep: i32, down: bool): u32 {
  const step: u32 = down ? 0 - size : size;
  const equalGoesOn = rep == REPE;
  let done: u32 = 0;
  while (done < n) {
    const equal = value == loadHost(b, size);
    done++;
    if (equal != equalGoesOn) break;
    b += step;
  }
  return done;
}

/** Ends a share of comparisons, of which the last one's flags count. */
// @ts-ignore: decorator
@inline
function compared(a: u64, b: u64, size: i32, remaining: bool): i32 {
  if (!remaining) compareFlags(a, b, size);
  return resume(remaining);
}

export function cmps(size: i32, addressSize: i32, segment: i32, rep: i32): i32 {
  const down = backward();
  let count: u64 = rep ? counted(addressSize) : 1;
  if (count == 0) return OK;
  let left = min(count, quantum(size));
  let a: u64 = 0;
  let b: u64 = 0;
  while (left) {
    const source = index(RSI, addressSize);
    const target = index(RDI, addressSize);
    let n: u64 = 0;
    if (left > 1) {
      n = run(segment, source, size, addressSize, false, down, left);
      const first = runHost;
      if (n) n = run(ES, target, size, addressSize, false, down, n);
      if (n) {
        n = compareRun(first, runHost, <u32>n, size, rep, down);
        const last = down ? 0 - <u32>(n - 1) * size : <u32>(n - 1) * size;
        a = loadHost(first + last, size);
        b = loadHost(runHost + last, size);
      }
    }
    if (!n) {
      // The manual leaves the order open; Intel's processors read the element at DI first.
      b = readElement(ES, target, size);
      if (faulted()) return FAULTED;
      a = readElement(segment, source, size);
      if (faulted()) return FAULTED;
      n = 1;
    }
    advance(RSI, addressSize, n, size, down);
    advance(RDI, addressSize, n, size, down);
    count -= n;
    left -= n;
    if (rep) setIndex(RCX, addressSize, count);
    if ((a == b) != (rep == REPE)) break;
  }
  return compared(a, b, size, rep != 0 && count != 0 && (a == b) == (rep == REPE));
}

export function scas(size: i32, addressSize: i32, segment: i32, rep: i32): i32 {
  const down = backward();
  let count: u64 = rep ? counted(addressSize) : 1;
  if (count == 0) return OK;
  let left = min(count, quantum(size));
  const value = loadHost(<u32>RAX, size);
  let b: u64 = 0;
  while (left) {
    const target = index(RDI, addressSize);
    let n: u64 = left > 1 ? run(ES, target, size, addressSize, false, down, left) : 0;
    if (n) {
      n = scanRun(value, runHost, <u32>n, size, rep, down);
      b = loadHost(runHost + (down ? 0 - <u32>(n - 1) * size : <u32>(n - 1) * size), size);
    } else {
      b = readElement(ES, target, size);
      if (faulted()) return FAULTED;
      n = 1;
    }
    advance(RDI, addressSize, n, size, down);
    count -= n;
    left -= n;
    if (rep) setIndex(RCX, addressSize, count);
    if ((value == b) != (rep == REPE)) break;
  }
  return compared(value, b, size, rep != 0 && count != 0 && (value == b) == (rep == REPE));
}
