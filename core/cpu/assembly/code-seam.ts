import { PAGE_CODE } from '../layout';

/** Forgets the code decoded from guest-physical page `page` (gpa >> 12) before a byte of it changes. */
export function invalidateCode(page: u32): void {
  store<u32>(PAGE_CODE + (page << 2), 0);
}

/**
 * A write of `size` bytes at a guest-physical address whose page holds decoded code. Returns whether the page still holds code
 * afterwards (no write entry may be installed then).
 */
export function writeToCode(gpa: u32, size: u32): bool {
  invalidateCode(gpa >> 12);
  return false;
}
