/** Qualifications of exits that are handled while their instruction waits. @sdm 3C 28.2.1 */

/** The access in bits 2:0 of an EPT violation's qualification. */
export const eptAccess = { read: 1, write: 2 } as const;

/** Qualification of an EPT violation: the access, what EPT allows in bits 5:3, bit 7 (the linear address is valid), bit 8 (it was translated). @sdm 3C table 28-7 */
export function eptQualification(access: number, rights: number): number {
  return access | (rights << 3) | 0x180;
}

/** Qualification of an I/O exit: size - 1 in bits 2:0, bit 3 = in, bit 4 = string, the port in bits 31:16. @sdm 3C table 28-5 */
export function ioQualification(port: number, size: number, input: boolean, string: boolean): number {
  return ((port << 16) | (string ? 0x10 : 0) | (input ? 8 : 0) | (size - 1)) >>> 0;
}
