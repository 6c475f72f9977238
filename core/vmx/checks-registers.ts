/** Values that registers of host and guest can hold. */
import { CR0_FIXED_0, CR4_FIXED_0 } from './controls.ts';

const PE_PG = 0x80000001n;

/** CR0 in VMX operation; PE and PG are free in an unrestricted guest. @sdm 3C 24.8; 3D A.7 */
export function fixedCr0(cr0: bigint, unrestricted: boolean): boolean {
  const required = BigInt(CR0_FIXED_0) & (unrestricted ? ~PE_PG : ~0n);
  return (cr0 & required) === required && cr0 >> 32n === 0n;
}

/** CR4 in VMX operation; `allowed`: the bits that exist. */
export function fixedCr4(cr4: bigint, allowed: bigint): boolean {
  const required = BigInt(CR4_FIXED_0);
  return (cr4 & required) === required && (cr4 & ~allowed) === 0n;
}

/** Each byte of IA32_PAT is one of the types 0, 1, 4, 5, 6, 7. @sdm 3A 12.12.2 */
export function patValid(pat: bigint): boolean {
  for (let shift = 0n; shift < 64n; shift += 8n) {
    const type = (pat >> shift) & 0xffn;
    if (type > 7n || type === 2n || type === 3n) return false;
  }
  return true;
}
