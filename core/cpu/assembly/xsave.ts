import {
  CPL, CR0, CR4, FCS, FCW, FDP, FDS, FIP, FOP, FSW, FTAGS, GPR, MSR_XSS, MXCSR, PKRU, X87, XCR0, XMM,
} from '../layout';
import {
  MXCSR_DEFINED, MXCSR_RESET, readable, restoreX87, restoreXmm, saveMxcsr, saveX87, saveXmm, vectorRegisters,
} from './fxsave';
import { readU32, readU64, writeU64 } from './memory';
import { flushAll } from './tlb';
import { faulted, FAULTED, OK, raise, raiseError, SYNC } from './status';
import { initialize, probeRange } from './x87-environment';

/** The XSAVE feature set. @sdm 1 13 */

const COMPONENT_X87: u64 = 1;
const COMPONENT_SSE: u64 = 2;
const COMPONENT_AVX: u64 = 4;
const COMPONENT_PKRU: u64 = 0x200;
const SUPPORTED: u64 = COMPONENT_X87 | COMPONENT_SSE | COMPONENT_PKRU;
const COMPACTED: u64 = 0x8000000000000000;
const HEADER: u64 = 512;
const EXTENDED: u64 = 576;
/** Offset of PKRU's 8 bytes in the standard format; CPUID leaf 0DH subleaf 9 must report it. */
export const XSAVE_PKRU_OFFSET: u32 = 0xa80;

/** Checks that come before any access: #UD, #GP for privilege, #NM, alignment. */
function admit(linear: u64, supervisor: bool): i32 {
  if ((load<u32>(CR4) & 0x40000) == 0) return raise(6);
  if (supervisor && load<u32>(CPL) != 0) return raiseError(13, 0);
  if (load<u32>(CR0) & 8) return raise(7);
  if (linear & 63) return raiseError(13, 0);
  return OK;
}

/** EDX:EAX. */
// @ts-ignore: decorator
@inline
function requested(): u64 {
  return <u64>load<u32>(GPR) | <u64>load<u32>(GPR + 16) << 32;
}

/** Components that are not in their initial configuration (XINUSE). @sdm 1 13.6 */
function inUse(): u64 {
  let used: u64 = 0;
  let any = u64(load<u16>(FCW) ^ 0x37f) | load<u16>(FSW) | load<u8>(FTAGS) | load<u16>(FOP) | load<u64>(FIP) | load<u64>(FDP)
    | load<u16>(FCS) | load<u16>(FDS);
  for (let at: u32 = 0; at < 128; at += 16) any |= load<u64>(X87 + at) | load<u16>(X87 + at + 8);
  if (any != 0) used |= COMPONENT_X87;
  any = 0;
  const end = vectorRegisters() << 4;
  for (let at: u32 = 0; at < end; at += 8) any |= load<u64>(XMM + at);
  if (any != 0) used |= COMPONENT_SSE;
  if (load<u32>(PKRU) != 0) used |= COMPONENT_PKRU;
  return used;
}

/** Bytes of a compacted area that hold `components`; of a standard area when not `compact`. */
function areaSize(components: u64, compact: bool): u32 {
  if ((components & COMPONENT_PKRU) == 0) return <u32>EXTENDED;
  return compact ? <u32>EXTENDED + 8 : XSAVE_PKRU_OFFSET + 8;
}

function saveComponents(linear: u64, components: u64, wide: bool, compact: bool): void {
  if (components & COMPONENT_X87) saveX87(linear, wide);
  if (components & COMPONENT_SSE) saveXmm(linear);
  if (components & COMPONENT_PKRU) writeU64(linear + (compact ? EXTENDED : <u64>XSAVE_PKRU_OFFSET), load<u32>(PKRU));
}

/** XSAVE and XSAVEOPT: standard format. XSAVEOPT leaves components in their initial configuration unwritten. */
function saveStandard(linear: u64, opSize: i32, optimize: bool): i32 {
  const status = admit(linear, false);
  if (status != OK) return status;
  const mask = load<u64>(XCR0) & requested();
  if (!probeRange(linear, areaSize(mask, false))) return FAULTED;
  const used = inUse();
  const before = readU64(linear + HEADER);
  if (faulted()) return FAULTED;
  saveComponents(linear, (optimize ? mask & used : mask) & SUPPORTED, opSize == 8, false);
  if (mask & (COMPONENT_SSE | COMPONENT_AVX)) saveMxcsr(linear);
  writeU64(linear + HEADER, (before & ~mask) | (mask & used));
  return faulted() ? FAULTED : OK;
}

/** XSAVEC and XSAVES: compacted format. */
function saveCompacted(linear: u64, opSize: i32, mask: u64): i32 {
  if (!probeRange(linear, areaSize(mask, true))) return FAULTED;
  let used = inUse();
  if (load<u32>(MXCSR) != MXCSR_RESET) used |= COMPONENT_SSE;
  const saved = mask & used;
  saveComponents(linear, saved & SUPPORTED, opSize == 8, true);
  if (saved & COMPONENT_SSE) saveMxcsr(linear);
  writeU64(linear + HEADER, saved);
  writeU64(linear + HEADER + 8, mask | COMPACTED);
  return faulted() ? FAULTED : OK;
}

export function xsave(linear: u64, opSize: i32): i32 {
  return saveStandard(linear, opSize, false);
}

export function xsaveopt(linear: u64, opSize: i32): i32 {
  return saveStandard(linear, opSize, true);
}

export function xsavec(linear: u64, opSize: i32): i32 {
  const status = admit(linear, false);
  return status != OK ? status : saveCompacted(linear, opSize, load<u64>(XCR0) & requested());
}

export function xsaves(linear: u64, opSize: i32): i32 {
  const status = admit(linear, true);
  return status != OK ? status : saveCompacted(linear, opSize, (load<u64>(XCR0) | load<u64>(MSR_XSS)) & requested());
}

function initializeXmm(): void {
  memory.fill(XMM, 0, vectorRegisters() << 4);
}

/** Loads or initializes the components of `mask` from an area whose header has been checked. */
function restoreComponents(linear: u64, mask: u64, present: u64, wide: bool, compact: bool): i32 {
  if (mask & COMPONENT_X87) {
    if (present & COMPONENT_X87) restoreX87(linear, wide);
    else {
      initialize();
      memory.fill(X87, 0, 128);
    }
  }
  if (mask & COMPONENT_SSE) {
    if (present & COMPONENT_SSE) restoreXmm(linear);
    else initializeXmm();
  }
  if ((mask & COMPONENT_PKRU) == 0) return OK;
  const rights = present & COMPONENT_PKRU ? readU32(linear + (compact ? EXTENDED : <u64>XSAVE_PKRU_OFFSET)) : 0;
  if (rights == load<u32>(PKRU)) return OK;
  store<u32>(PKRU, rights);
  // Look-aside entries hold the rights of their pages.
  flushAll();
  return SYNC;
}

function restore(linear: u64, opSize: i32, features: u64, mustBeCompacted: bool): i32 {
  if (!readable(linear, <u32>EXTENDED)) return FAULTED;
  const present = readU64(linear + HEADER);
  const layout = readU64(linear + HEADER + 8);
  const compact = (layout & COMPACTED) != 0;
  const mask = features & requested();
  if (mustBeCompacted && !compact) return raiseError(13, 0);
  if (compact) {
    const laidOut = layout & ~COMPACTED;
    if (laidOut & ~features || present & ~laidOut) return raiseError(13, 0);
    let reserved: u64 = 0;
    for (let at: u64 = 16; at < 64; at += 8) reserved |= readU64(linear + HEADER + at);
    if (reserved != 0) return raiseError(13, 0);
  } else if (present & ~features || layout != 0 || readU64(linear + HEADER + 16) != 0) {
    return raiseError(13, 0);
  }
  const bytes = compact ? areaSize(layout, true) : areaSize(mask & present, false);
  if (!readable(linear, bytes)) return FAULTED;
  // In the standard format MXCSR is loaded whatever XSTATE_BV says. @sdm 1 13.8.1
  const loadsMxcsr = compact ? (mask & COMPONENT_SSE) != 0 : (mask & (COMPONENT_SSE | COMPONENT_AVX)) != 0;
  if (loadsMxcsr) {
    const control = compact && (present & COMPONENT_SSE) == 0 ? MXCSR_RESET : readU32(linear + 24);
    if (control & ~MXCSR_DEFINED) return raiseError(13, 0);
    store<u32>(MXCSR, control);
  }
  return restoreComponents(linear, mask, present, opSize == 8, compact);
}

export function xrstor(linear: u64, opSize: i32): i32 {
  const status = admit(linear, false);
  return status != OK ? status : restore(linear, opSize, load<u64>(XCR0), false);
}

export function xrstors(linear: u64, opSize: i32): i32 {
  const status = admit(linear, true);
  return status != OK ? status : restore(linear, opSize, load<u64>(XCR0) | load<u64>(MSR_XSS), true);
}
