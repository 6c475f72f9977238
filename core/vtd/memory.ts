/** Guest-physical memory as the unit itself reads and writes it. */

export interface RemappingMemory {
  /** The eight bytes at a guest-physical address that is a multiple of eight, or null where there is no RAM. */
  read(address: number): bigint | null;
  /** False where there is no RAM; nothing is written then. */
  write(address: number, value: bigint): boolean;
  /** The same for four bytes at a multiple of four. */
  writeDword(address: number, value: number): boolean;
}

/** Consecutive quadwords as one value, the first lowest; null when one of them is unreachable. */
export function readWide(memory: RemappingMemory, address: number, quadwords: number): bigint | null {
  let value = 0n;
  for (let index = 0; index < quadwords; index++) {
    const part = memory.read(address + index * 8);
    if (part === null) return null;
    value |= part << BigInt(index * 64);
  }
  return value;
}
