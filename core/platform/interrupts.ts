/** Interrupt lines, interrupt messages, and what a vCPU sees of the interrupt controllers. */

import type { WideValue } from './device.ts';

/** A wire with a level: asserted for as long as its cause lasts. */
export interface LevelInterrupt {
  set(asserted: boolean): void;
}

/** Wires that share one input: it is asserted while any of them is. */
export class SharedWire {
  private readonly target: LevelInterrupt;
  private asserted = 0;

  constructor(target: LevelInterrupt) {
    this.target = target;
  }

  /** A new source on the wire. */
  source(): LevelInterrupt {
    let level = false;
    return {
      set: asserted => {
        if (asserted === level) return;
        level = asserted;
        const before = this.asserted;
        this.asserted += asserted ? 1 : -1;
        if ((before === 0) !== (this.asserted === 0)) this.target.set(asserted);
      },
    };
  }
}

/** Delivery modes of ICR, LVT, redirection entries and MSI data, by their encoding. @sdm 3A 11.6.1 */
export const deliveryMode = { fixed: 0, lowestPriority: 1, smi: 2, nmi: 4, init: 5, startUp: 6, extInt: 7 } as const;

/** An interrupt message on its way to local APICs. */
export interface InterruptMessage {
  /** A `deliveryMode`. Reserved encodings are dropped. */
  readonly mode: number;
  readonly vector: number;
  readonly level: boolean;
  readonly logical: boolean;
  /** 8 bits from an I/O APIC, an MSI or an xAPIC; 32 bits from an x2APIC. */
  readonly destination: number;
  /** The width of `destination`: all ones in that width is the broadcast. */
  readonly wide: boolean;
}

/**
 * The way of an interrupt to the local APICs: what it means by itself, and the write of `data` to `address` that it is on the bus, for what
 * remaps it. Returns whether a local APIC accepted it.
 */
export type InterruptRoute = (message: InterruptMessage, address: number, data: number) => boolean;

/** What remaps interrupts on their way from a requester. */
export interface InterruptRemapper {
  interrupt(source: number, address: number, data: number, compatible: InterruptMessage): boolean;
}

/** Whether a memory write by a device is an interrupt message. @sdm 3A 11.11.1 */
export function isInterruptAddress(address: number): boolean {
  return Math.floor(address / 0x100000) === 0xfee;
}

/**
 * The message that a device's write of `data` to `address` stands for, or null when the address is no interrupt address.
 * @sdm 3A 11.11
 */
export function messageFromMsi(address: number, data: number): InterruptMessage | null {
  if (address >>> 20 !== 0xfee) return null;
  return {
    mode: (data >>> 8) & 7,
    vector: data & 0xff,
    level: (data & 0x8000) !== 0,
    // The manual calls the mode bit ignored without the redirection hint; processors obey it, and systems set it alone.
    logical: (address & 4) !== 0,
    destination: (address >>> 12) & 0xff,
    wide: false,
  };
}

/** What root mode asks of the interrupt controllers on behalf of one vCPU. */
export interface VcpuInterrupts {
  /** Vector of the maskable interrupt to deliver now, above the processor priority, or -1. Does not acknowledge it. */
  pendingVector(): number;
  /** Acknowledges the interrupt that `pendingVector` announced and returns its vector. Call only when one is pending. */
  acknowledge(): number;
  readonly nmiPending: boolean;
  /** Takes the pending NMI; false when there is none. */
  takeNmi(): boolean;
  /** Takes a pending INIT; false when there is none. */
  takeInit(): boolean;
  /** Takes a start-up vector (a real-mode page number, 0 to 255) that arrived since, or -1. */
  takeStartUp(): number;
  /** Takes a pending SMI; false when there is none. */
  takeSmi(): boolean;
  /** Whether something waits that wakes a vCPU from HLT, or from wait-for-SIPI. */
  readonly eventPending: boolean;
  /** Called when something new became pending, for a vCPU that is running guest code. */
  onInterruptRequest: () => void;
  /** The task priority as CR8 shows it, 0 to 15. @sdm 3A 11.8.6 */
  readCr8(): number;
  writeCr8(value: number): void;
  /** Whether IA32_APIC_BASE, IA32_TSC_DEADLINE or the x2APIC range holds this MSR. */
  ownsMsr(msr: number): boolean;
  /** The MSR's value, or null for #GP(0). */
  readMsr(msr: number): WideValue | null;
  /** False asks for #GP(0); nothing has changed then. */
  writeMsr(msr: number, low: number, high: number): boolean;
  /** The guest-physical page of the xAPIC registers, or -1 while they are not mapped (disabled, or x2APIC mode). */
  readonly apicPage: number;
  /** Called when `apicPage` changes: the page must reach `readRegister` and `writeRegister` and no RAM. */
  onApicPageChange: () => void;
  readRegister(offset: number, size: 1 | 2 | 4): number;
  writeRegister(offset: number, size: 1 | 2 | 4, value: number): void;
  /** The vCPU's TSC is the machine's plus this (modulo 2^64); TSC deadlines follow it. */
  setTscOffset(offset: bigint): void;
}
