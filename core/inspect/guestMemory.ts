/** Guest memory as a debugger sees it: reads and writes that ask no permission, set no accessed flag and reach no device. */
import type { Processor } from '../cpu/processor.ts';
import { PAGE_CODE, PAGE_MMIO } from '../cpu/layout.ts';
import { walkLinear } from './pageWalk.ts';

const PAGE = 4096n;

export type AddressSpace = 'virtual' | 'physical';

/** Guest-physical address of a byte, or null. */
function physicalOf(cpu: Processor, space: AddressSpace, address: bigint): bigint | null {
  return space === 'physical' ? address : walkLinear(cpu, address).physical;
}

/** Offset into RAM of a byte that memory backs, or -1: devices are not asked, because reading them may change them. */
function backed(cpu: Processor, physical: bigint | null): number {
  if (physical === null || physical >> 32n !== 0n) return -1;
  const at = Number(physical);
  if (cpu.ept.kindOf(at >>> 12) === PAGE_MMIO || at >= cpu.ram.length) return -1;
  cpu.noteDeviceRead(at, 1);
  return at;
}

/** Bytes up to the first that is not mapped or not memory; shorter than asked then, perhaps empty. */
export function readMemory(cpu: Processor, space: AddressSpace, address: bigint, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const from = BigInt.asUintN(64, address + BigInt(done));
    const at = backed(cpu, physicalOf(cpu, space, from));
    if (at < 0) break;
    const count = Math.min(length - done, Number(PAGE - (from % PAGE)));
    bytes.set(cpu.ram.subarray(at, at + count), done);
    done += count;
  }
  return bytes.subarray(0, done);
}

/** Writes all bytes, or none and returns false when one of them is not mapped or not memory. ROM may be written. */
export function writeMemory(cpu: Processor, space: AddressSpace, address: bigint, bytes: Uint8Array): boolean {
  const pieces: { readonly at: number; readonly from: number; readonly count: number }[] = [];
  for (let done = 0; done < bytes.length;) {
    const to = BigInt.asUintN(64, address + BigInt(done));
    const at = backed(cpu, physicalOf(cpu, space, to));
    if (at < 0) return false;
    const count = Math.min(bytes.length - done, Number(PAGE - (to % PAGE)));
    pieces.push({ at, from: done, count });
    done += count;
  }
  for (const { at, from, count } of pieces) {
    cpu.noteDeviceWrite(at, count);
    cpu.ram.set(bytes.subarray(from, from + count), at);
    if (cpu.view.getUint32(PAGE_CODE + (at >>> 12) * 4, true) !== 0) cpu.call('invalidateCode', at >>> 12);
  }
  return true;
}
