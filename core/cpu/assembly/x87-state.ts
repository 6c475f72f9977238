import {
  ACTIVITY, CR0, F_CX, F_CY, F_RES, FCS, FCW, FDP, FDS, FERR, FERR_ASSERTED, FERR_IGNORED, FIP, FOP, FSW, FTAGS, RIP,
  SEG_SELECTOR, SEGMENT_SIZE,
  SEGMENTS, CS, X87,
} from '../layout';
import { storeAux } from './flags';
import { begin, DE, DEFAULT_NAN, IE, OE, raised, raiseFlags, setFlags, UE, wasRoundedUp, ZE } from './softfloat';
import { OK, exit, raise } from './status';

/** The register stack, the status word and the exceptions of the x87. @sdm 1 8.1 */

export const C0: u32 = 0x100;
export const C1: u32 = 0x200;
export const C2: u32 = 0x400;
export const C3: u32 = 0x4000;
export const SF: u32 = 0x40;
const ES_AND_BUSY: u32 = 0x8080;

// @ts-ignore: decorator
@inline
export function top(): u32 {
  return load<u16>(FSW) >> 11 & 7;
}

/** Address of ST(i). */
// @ts-ignore: decorator
@inline
export function st(i: u32): u32 {
  return X87 + (((load<u16>(FSW) >> 11) + i & 7) << 4);
}

// @ts-ignore: decorator
@inline
export function isEmpty(i: u32): bool {
  return (load<u8>(FTAGS) >> ((load<u16>(FSW) >> 11) + i & 7) & 1) == 0;
}

// @ts-ignore: decorator
@inline
export function setFull(i: u32): void {
  store<u8>(FTAGS, <u32>load<u8>(FTAGS) | (<u32>1) << (top() + i & 7));
}

// @ts-ignore: decorator
@inline
export function setEmpty(i: u32): void {
  store<u8>(FTAGS, <u32>load<u8>(FTAGS) & ~((<u32>1) << (top() + i & 7)));
}

// @ts-ignore: decorator
@inline
export function sigOf(address: u32): u64 {
  return load<u64>(address);
}

// @ts-ignore: decorator
@inline
export function seOf(address: u32): u32 {
  return load<u16>(address + 8);
}

// @ts-ignore: decorator
@inline
export function put(address: u32, sig: u64, se: u32): void {
  store<u64>(address, sig);
  store<u16>(address + 8, se);
}

export function putDefault(address: u32): void {
  put(address, DEFAULT_NAN, 0xffff);
}

// @ts-ignore: decorator
@inline
export function setTop(value: u32): void {
  store<u16>(FSW, (load<u16>(FSW) & 0xc7ff) | (value & 7) << 11);
}

// @ts-ignore: decorator
@inline
export function pop(): void {
  setEmpty(0);
  setTop(top() + 1);
}

export function push(sig: u64, se: u32): void {
  setTop(top() - 1);
  setFull(0);
  put(st(0), sig, se);
}

/** Starts the arithmetic of an instruction under FCW's control. */
// @ts-ignore: decorator
@inline
export function beginControlled(): void {
  const control = <u32>load<u16>(FCW);
  const field = control >> 8 & 3;
  begin(control >> 10 & 3, field == 0 ? 24 : field == 2 ? 53 : 64, control & 0x3f, false);
}

/** Starts an instruction that precision control does not concern. */
// @ts-ignore: decorator
@inline
export function beginExtended(): void {
  const control = <u32>load<u16>(FCW);
  begin(control >> 10 & 3, 64, control & 0x3f, false);
}

/** Recomputes ES and B from flags and masks. */
export function updateSummary(): void {
  const status = <u32>load<u16>(FSW) & ~ES_AND_BUSY;
  const pending = status & ~(<u32>load<u16>(FCW)) & 0x3f;
  store<u16>(FSW, pending ? status | ES_AND_BUSY : status);
  if (!pending) store<u32>(FERR, 0);
}

/**
 * Moves the exceptions raised into FSW, C1 too. False when an unmasked invalid-operation, denormal or divide exception withholds the
 * result: then nothing else may be written. @sdm 1 8.5, 8.7
 */
export function settle(): bool {
  const control = <u32>load<u16>(FCW);
  let bits = raised();
  const withheld = bits & (IE | DE | ZE) & ~control;
  let status = <u32>load<u16>(FSW) & ~C1;
  if (withheld) bits &= IE | DE | ZE;
  else if (wasRoundedUp()) status |= C1;
  status |= bits;
  if (status & ~control & 0x3f) status |= ES_AND_BUSY;
  store<u16>(FSW, status);
  return withheld == 0;
}

/** Whether the exceptions raised so far keep a memory destination from being written (before settle()). */
// @ts-ignore: decorator
@inline
export function withholdsStore(): bool {
  return (raised() & (IE | DE | ZE | OE | UE) & ~(<u32>load<u16>(FCW))) != 0;
}

/** Stack overflow (`overflow` C1 = 1) or underflow. True when masked: the caller then writes the indefinite. @sdm 1 8.5.1.1 */
export function stackFault(overflow: bool): bool {
  setFlags(0);
  raiseFlags(IE);
  const masked = (load<u16>(FCW) & 1) != 0;
  let status = <u32>load<u16>(FSW) & ~C1 | SF | IE;
  if (overflow) status |= C1;
  if (!masked) status |= ES_AND_BUSY;
  store<u16>(FSW, status);
  return masked;
}

/** Whether ST(0) and ST(i) have operands. Otherwise the response to a stack underflow: where it is masked, ST(0) becomes the default. */
export function hasOperands(i: u32): bool {
  if (!isEmpty(0) && !isEmpty(i)) return true;
  if (stackFault(false)) {
    putDefault(st(0));
    setFull(0);
  }
  return false;
}

// @ts-ignore: decorator
@inline
export function setConditions(bits: u32): void {
  store<u16>(FSW, (load<u16>(FSW) & ~(C0 | C2 | C3)) | bits);
}

// @ts-ignore: decorator
@inline
export function clearC1(): void {
  store<u16>(FSW, load<u16>(FSW) & ~C1);
}

/** #NM, then a pending exception: #MF, or FERR# when CR0.NE = 0. */
// @ts-ignore: decorator
@inline
export function waiting(): i32 {
  if (load<u32>(CR0) & 0xc) return raise(7);
  return load<u16>(FSW) & 0x80 ? pendingException() : OK;
}

/** With CR0.NE = 0 the processor asserts FERR# and waits for an interrupt, unless IGNNE# is asserted. @sdm 1 D.2.1 */
export function pendingException(): i32 {
  if (load<u32>(CR0) & 0x20) return raise(16);
  if (load<u32>(FERR) & FERR_IGNORED) return OK;
  store<u32>(FERR, FERR_ASSERTED);
  store<u32>(ACTIVITY, 1);
  return exit(EXIT_PREEMPTION_TIMER, 0);
}

/** Basic exit reason: root mode looks at FERR# and goes on. */
const EXIT_PREEMPTION_TIMER: u32 = 52;

/** Instruction pointers and opcode of a non-control instruction. @sdm 1 8.1.8 */
// @ts-ignore: decorator
@inline
export function notePointers(opcode: u32, modrm: u32): void {
  store<u16>(FOP, opcode << 8 | modrm);
  store<u64>(FIP, load<u64>(RIP));
  store<u16>(FCS, load<u16>(SEGMENTS + CS * SEGMENT_SIZE + SEG_SELECTOR));
}

// @ts-ignore: decorator
@inline
export function noteOperand(offset: u64, segment: i32): void {
  store<u64>(FDP, offset);
  store<u16>(FDS, load<u16>(SEGMENTS + segment * SEGMENT_SIZE + SEG_SELECTOR));
}

/** Order of two operands into the lazy EFLAGS: CF, ZF, PF as C0, C3, C2; OF, SF, AF zero. @sdm 2A FCOMI, COMISS */
export function setFlagsFromOrder(order: u32): void {
  const zero = (order & C3) != 0;
  store<u64>(F_RES, zero ? 0 : 1);
  // Parity of 0 is even: an equal result (not unordered) flips it, as 1 is odd already.
  storeAux(0, zero && (order & C2) == 0 ? 1 : 0);
  store<u64>(F_CX, 0);
  store<u64>(F_CY, order & C0 ? 1 : 0);
}
