/** A VMCS as the checks of VM entry read it. */
import { fieldOffset } from './vmcs.ts';
import * as F from './fields.ts';
import { PRIMARY_SECONDARY } from './control-bits.ts';
import type { ControlWord } from './controls.ts';

/** What the checks ask of the processor besides the VMCS. */
export interface CheckedProcessor {
  readonly physicalAddressBits: number;
  /** Bits of CR4 and EFER that exist. */
  readonly cr4: bigint;
  readonly efer: bigint;
  readonly settings: Readonly<Record<ControlWord, { readonly ones: number; readonly allowed: number }>>;
  readonly revision: number;
  /** Whether the processor is in IA-32e mode as it executes VM entry. */
  readonly longMode: boolean;
  readonly currentVmcs: bigint;
  /** 32 bits of guest-physical memory, ones where there is none. */
  read32(address: bigint): number;
}

export class VmcsView {
  private readonly view: DataView;
  private readonly base: number;
  readonly processor: CheckedProcessor;

  constructor(view: DataView, base: number, processor: CheckedProcessor) {
    this.view = view;
    this.base = base;
    this.processor = processor;
  }

  /** A field of up to 64 bits. */
  wide(encoding: number): bigint {
    return this.view.getBigUint64(this.base + fieldOffset(encoding), true);
  }

  /** A field of up to 32 bits, unsigned. */
  word(encoding: number): number {
    return this.view.getUint32(this.base + fieldOffset(encoding), true);
  }

  set(encoding: number, value: bigint | number): void {
    this.view.setBigUint64(this.base + fieldOffset(encoding), BigInt.asUintN(64, BigInt(value)), true);
  }

  /** Sets bits of a field. */
  raise(encoding: number, bits: bigint | number): void {
    this.set(encoding, this.wide(encoding) | BigInt.asUintN(64, BigInt(bits)));
  }

  /** Clears bits of a field. */
  clear(encoding: number, bits: bigint | number): void {
    this.set(encoding, this.wide(encoding) & ~BigInt.asUintN(64, BigInt(bits)));
  }

  pin(bit: number): boolean { return (this.word(F.PIN_BASED_CONTROLS) & bit) !== 0; }
  primary(bit: number): boolean { return (this.word(F.PRIMARY_CONTROLS) & bit) !== 0; }
  /** The secondary controls count as zeros unless they are activated. */
  secondary(bit: number): boolean { return this.primary(PRIMARY_SECONDARY) && (this.word(F.SECONDARY_CONTROLS) & bit) !== 0; }
  exit(bit: number): boolean { return (this.word(F.EXIT_CONTROLS) & bit) !== 0; }
  entry(bit: number): boolean { return (this.word(F.ENTRY_CONTROLS) & bit) !== 0; }

  /** Whether a physical address exists. */
  physical(address: bigint): boolean {
    return address >> BigInt(this.processor.physicalAddressBits) === 0n;
  }

  /** Whether a field holds a physical address that exists, aligned to `1 << bits` bytes. */
  address(encoding: number, bits = 12): boolean {
    const address = this.wide(encoding);
    return this.physical(address) && (address & ((1n << BigInt(bits)) - 1n)) === 0n;
  }

  /** Whether a linear address is canonical for the widest linear addresses that the processor has. @sdm 3C 27.2.2 */
  canonical(encoding: number): boolean {
    return isCanonical(this.wide(encoding), this.processor.cr4);
  }
}

const CR4_LA57 = 1n << 12n;

/** `cr4`: what CR4 may hold; with LA57 linear addresses have up to 57 bits. */
export function isCanonical(address: bigint, cr4: bigint): boolean {
  const width = cr4 & CR4_LA57 ? 57 : 48;
  return BigInt.asUintN(64, BigInt.asIntN(width, address)) === address;
}
