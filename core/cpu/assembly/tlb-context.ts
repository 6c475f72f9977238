/**
 * Whose translations the look-aside tables hold. VM entry and exit change over to the other bank; what it holds is still good when
 * everything that decides translations is as it was when the bank was left, and its tag (VPID and EPT pointer) is the same. @sdm 3C 29.4
 */
import { CR0_PE, CR0_PG, CR0_WP, CR4_LA57, CR4_PAE, CR4_PGE, CR4_PKE, CR4_PSE, CR4_SMAP, CR4_SMEP, EFER_LMA, EFER_NXE } from './bits';
import { bank, bankOf, flushAccessCheck, flushAll, useBank } from './tlb';
import { CR0, CR3, CR4, DR7, EFER, PKRU, TLB_CONTEXT } from '../layout';

/** A bank's context: CR0, CR3, CR4, EFER as far as they count, PKRU, tag; u64 each. The tag of one that is not valid is NO_TAG. */
const TAG: usize = 40;
const NO_TAG: u64 = 0xffffffffffffffff;

const CR0_COUNTS: u64 = CR0_PE | CR0_PG | CR0_WP;
const CR4_COUNTS: u64 = CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_SMEP | CR4_SMAP | CR4_PKE;
const EFER_COUNTS: u64 = EFER_LMA | EFER_NXE;

/** Notes what the tables in use are for; `tag` 0 for root operation. Pages with breakpoints have no entries: those contexts do not last. */
export function leaveBank(tag: u64): void {
  const context = TLB_CONTEXT + bank;
  store<u64>(context, load<u64>(CR0) & CR0_COUNTS);
  store<u64>(context, load<u64>(CR3), 8);
  store<u64>(context, load<u64>(CR4) & CR4_COUNTS, 16);
  store<u64>(context, load<u64>(EFER) & EFER_COUNTS, 24);
  store<u64>(context, load<u32>(PKRU), 32);
  store<u64>(context, load<u64>(DR7) & 0xff ? NO_TAG : tag, TAG);
}

/** Changes over to a bank, after the registers were loaded; empties it unless it is for exactly them. `lasting`: entries survive entries and exits. */
export function enterBank(nested: bool, tag: u64, lasting: bool): void {
  useBank(nested);
  const context = TLB_CONTEXT + bank;
  const same = load<u64>(context) == (load<u64>(CR0) & CR0_COUNTS) && load<u64>(context, 8) == load<u64>(CR3)
    && load<u64>(context, 16) == (load<u64>(CR4) & CR4_COUNTS) && load<u64>(context, 24) == (load<u64>(EFER) & EFER_COUNTS)
    && load<u64>(context, 32) == u64(load<u32>(PKRU)) && load<u64>(context, TAG) == tag;
  if (!same || !lasting || load<u64>(DR7) & 0xff) flushAll();
  else flushAccessCheck();
}

/** Forgets what nested guests translated: INVEPT, INVVPID. */
export function forgetNested(): void {
  store<u64>(TLB_CONTEXT + bankOf(true), NO_TAG, TAG);
}
