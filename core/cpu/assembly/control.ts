/** Control and debug registers, INVLPG and INVPCID. Privilege is checked by the opcode table. @sdm 2B MOV; 3A 2.5, 2.8; 3B 18.2 */
import {
  CR0_CD, CR0_ET, CR0_NW, CR0_PE, CR0_PG, CR0_TS, CR0_WP, CR4_DE, CR4_LA57, CR4_PAE, CR4_PCIDE, CR4_PGE, CR4_PKE, CR4_PSE, CR4_SMAP,
  CR4_SMEP, EFER_LMA, EFER_LME, ACCESS_L,
} from './bits';
import { accessOf, longModeActive } from './descriptors';
import { updateMode } from './mode';
import { updateStepReason } from './flags';
import { readU64 } from './memory';
import { canonical, canonicalWhenWide, loadPdptes } from './paging';
import { FAULTED, OK, SYNC, faulted, raise, raiseError } from './status';
import { flushAll, flushNonGlobal, flushPage } from './tlb';
import { cltsExit, disabled, lmswExit, maskedWrite, primaryExits, secondaryExits, shadowed } from './vm-controls';
import { tprShadowed, virtualTpr, writeVirtualTpr } from './vm-apic';
import { vmExit, vmExitDecoded } from './vm-exit';
import { fixedCr0, fixedCr4 } from './vmx';
import {
  ARGUMENTS, CODE_SIZE, CR0, CR2, CR3, CR4, CR4_ALLOWED, CR8, CS, DR0, DR6, DR7, EFER, PENDING_DEBUG, PHYS_RESERVED, TR,
  VMX_OPERATION,
} from '../layout';
import { PRIMARY_INVLPG, SECONDARY_INVPCID, SECONDARY_UNRESTRICTED } from '../../vmx/control-bits';

const EXIT_INVLPG: u32 = 14;
const EXIT_INVPCID: u32 = 58;

/** Bits of CR0 that exist. */
const CR0_BITS: u64 = 0xe005003f;
/** Changes of CR4 that alter translations. */
const CR4_TRANSLATION: u64 = CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE;

/** Loads the PDPTE registers when PAE paging is, or comes to be, in use. False: a reserved bit (#GP is the caller's) or a fault. */
function refreshPdptes(cr0: u64, cr4: u64, cr3: u64): bool {
  if (!(cr0 & CR0_PG) || !(cr4 & CR4_PAE) || load<u64>(EFER) & EFER_LME) return true;
  return loadPdptes(cr3);
}

function refusedPdptes(): i32 {
  return faulted() ? FAULTED : raiseError(13, 0);
}

function writeCr0(valueIn: u64): i32 {
  if (valueIn >> 32) return raiseError(13, 0);
  const before = load<u64>(CR0);
  const value = (maskedWrite(0, before, valueIn) & CR0_BITS) | CR0_ET;
  const efer = load<u64>(EFER);
  if ((value & (CR0_NW | CR0_CD)) == CR0_NW || (value & (CR0_PG | CR0_PE)) == CR0_PG) return raiseError(13, 0);
  if (load<u32>(VMX_OPERATION) && !fixedCr0(value, secondaryExits(SECONDARY_UNRESTRICTED))) return raiseError(13, 0);
  const changed = value ^ before;
  if (changed & CR0_PG) {
    if (value & CR0_PG) {
      // Entering IA-32e mode: PAE, no 64-bit CS yet, no 16-bit TSS. @sdm 3A 10.8.5
      const refused = !(load<u64>(CR4) & CR4_PAE) || accessOf(CS) & ACCESS_L || (accessOf(TR) & 0x1000f) == 3;
      if (efer & EFER_LME && refused) return raiseError(13, 0);
    } else if (load<u64>(CR4) & CR4_PCIDE || load<u32>(CODE_SIZE) == 2) {
      return raiseError(13, 0);
    }
  }
  if (changed & (CR0_PG | CR0_CD | CR0_NW) && !refreshPdptes(value, load<u64>(CR4), load<u64>(CR3))) return refusedPdptes();
  store<u64>(CR0, value);
  if (changed & CR0_PG && efer & EFER_LME) store<u64>(EFER, value & CR0_PG ? efer | EFER_LMA : efer & ~EFER_LMA);
  if (changed & (CR0_PG | CR0_WP | CR0_PE)) flushAll();
  if (changed & (CR0_PG | CR0_PE)) updateMode();
  return SYNC;
}

/** Bit 63 with PCIDE asks to keep translations, which is a permission only: entries carry no PCID, so all that are not global go. */
function writeCr3(valueIn: u64): i32 {
  const noFlush: u64 = 0x8000000000000000;
  let value = valueIn;
  if (load<u64>(CR4) & CR4_PCIDE) value &= ~noFlush;
  if (value & (load<u64>(PHYS_RESERVED) | 0xfff0000000000000)) return raiseError(13, 0);
  if (!refreshPdptes(load<u64>(CR0), load<u64>(CR4), value)) return refusedPdptes();
  store<u64>(CR3, value);
  flushNonGlobal();
  return SYNC;
}

function writeCr4(valueIn: u64): i32 {
  const before = load<u64>(CR4);
  const value = maskedWrite(4, before, valueIn);
  const changed = value ^ before;
  if (value & ~load<u64>(CR4_ALLOWED) || (load<u32>(VMX_OPERATION) && !fixedCr4(value))) return raiseError(13, 0);
  const long = longModeActive();
  if (long && (!(value & CR4_PAE) || changed & CR4_LA57)) return raiseError(13, 0);
  if (changed & value & CR4_PCIDE && (!long || load<u64>(CR3) & 0xfff)) return raiseError(13, 0);
  if (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP) && !refreshPdptes(load<u64>(CR0), value, load<u64>(CR3))) return refusedPdptes();
  store<u64>(CR4, value);
  if (changed & CR4_TRANSLATION) flushAll();
  return SYNC;
}

/** MOV to CRn (0, 2, 3, 4, 8); any other is #UD. A new CR8 is what root mode reads as the task priority at the SYNC. */
export function movToCr(n: i32, value: u64): i32 {
  if (n == 3) return writeCr3(value);
  if (n == 0) return writeCr0(value);
  if (n == 4) return writeCr4(value);
  if (n == 2) {
    store<u64>(CR2, value);
    return OK;
  }
  if (n != 8) return raise(6);
  if (value > 15) return raiseError(13, 0);
  if (tprShadowed()) writeVirtualTpr(u32(value));
  else store<u64>(CR8, value);
  return SYNC;
}

/** MOV from CRn: the value into ARGUMENTS. */
export function movFromCr(n: i32): i32 {
  let value: u64 = 0;
  if (n == 0) value = shadowed(0, load<u64>(CR0));
  else if (n == 2) value = load<u64>(CR2);
  else if (n == 3) value = load<u64>(CR3);
  else if (n == 4) value = shadowed(4, load<u64>(CR4));
  else if (n == 8) value = tprShadowed() ? virtualTpr() : load<u64>(CR8);
  else return raise(6);
  store<u64>(ARGUMENTS, value);
  return OK;
}

/** LMSW: PE can be set but not cleared. `memory`: the operand is in memory, at `linear`. */
export function lmsw(value: u32, memory: i32, linear: u64): i32 {
  const status = lmswExit(value, memory, linear);
  return status == OK ? writeCr0((load<u64>(CR0) & ~0xe) | u64(value & 0xf)) : status;
}

export function clts(): i32 {
  const status = cltsExit();
  if (status != OK) return status;
  const before = load<u64>(CR0);
  if (maskedWrite(0, before, before & ~CR0_TS) == before) return OK;
  store<u64>(CR0, before & ~CR0_TS);
  return before & CR0_TS ? SYNC : OK;
}

/** INVLPG; an address that is not canonical does nothing. */
export function invlpg(la: u64): i32 {
  if (primaryExits(PRIMARY_INVLPG)) return vmExit(EXIT_INVLPG, la);
  if (canonical(la)) flushPage(la);
  return SYNC;
}

/** Before INVPCID looks at its operands. */
export function invpcidExit(): i32 {
  if (disabled(SECONDARY_INVPCID)) return raise(6);
  return primaryExits(PRIMARY_INVLPG) ? vmExitDecoded(EXIT_INVPCID) : OK;
}

/** INVPCID; `la` is the linear address of the 16-byte descriptor. Entries of other PCIDs are never kept. @sdm 2A INVPCID */
export function invpcid(type: u64, la: u64): i32 {
  if (type > 3) return raiseError(13, 0);
  const pcid = readU64(la);
  if (faulted()) return FAULTED;
  const address = readU64(la + 8);
  if (faulted()) return FAULTED;
  if (pcid >> 12) return raiseError(13, 0);
  if (type < 2 && pcid && !(load<u64>(CR4) & CR4_PCIDE)) return raiseError(13, 0);
  if (type == 0) {
    if (!canonicalWhenWide(address)) return raiseError(13, 0);
    flushPage(address);
  } else if (type == 2) {
    flushAll();
  } else {
    flushNonGlobal();
  }
  return SYNC;
}

// ---- debug registers ----------------------------------------------------------------------------------------------------------
/** The register an encoding names: 4 and 5 are 6 and 7 unless CR4.DE. -1: a fault is pending. */
function debugRegister(n: i32): i32 {
  if ((n == 4 || n == 5) && load<u64>(CR4) & CR4_DE) {
    raise(6);
    return -1;
  }
  if (n > 7) {
    raise(6);
    return -1;
  }
  if (load<u64>(DR7) & 0x2000) {
    store<u64>(PENDING_DEBUG, load<u64>(PENDING_DEBUG) | 0x2000);
    raise(1);
    return -1;
  }
  return n == 4 || n == 5 ? n + 2 : n;
}

export function movToDr(n: i32, value: u64): i32 {
  const register = debugRegister(n);
  if (register < 0) return FAULTED;
  if (register >= 6 && value >> 32) return raiseError(13, 0);
  const armed = load<u64>(DR7);
  if (register == 6) store<u64>(DR6, (value & 0xe00f) | 0xffff0ff0);
  else if (register == 7) store<u64>(DR7, (value & 0xffff23ff) | 0x400);
  else store<u64>(DR0 + (register << 3), value);
  // Watched pages have no look-aside entries.
  if (register != 6 && (armed | load<u64>(DR7)) & 0xff) flushAll();
  updateStepReason();
  return SYNC;
}

/** MOV from DRn: the value into ARGUMENTS. */
export function movFromDr(n: i32): i32 {
  const register = debugRegister(n);
  if (register < 0) return FAULTED;
  store<u64>(ARGUMENTS, load<u64>(register == 7 ? DR7 : register == 6 ? DR6 : DR0 + (register << 3)));
  return OK;
}
