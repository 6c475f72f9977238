/** The local APIC's registers as rows: number, name, writable bits, and which of the two interfaces has them. */

/** Register numbers: the xAPIC offset divided by 16, and the x2APIC MSR minus 800H. @sdm 3A 11.4.1, 11.12.1.2 */
export const apicRegister = {
  id: 0x02, version: 0x03, tpr: 0x08, apr: 0x09, ppr: 0x0a, eoi: 0x0b, rrd: 0x0c, ldr: 0x0d, dfr: 0x0e, svr: 0x0f,
  isr: 0x10, tmr: 0x18, irr: 0x20, esr: 0x28, icrLow: 0x30, icrHigh: 0x31,
  lvtTimer: 0x32, lvtThermal: 0x33, lvtPerformance: 0x34, lvtLint0: 0x35, lvtLint1: 0x36, lvtError: 0x37,
  initialCount: 0x38, currentCount: 0x39, divide: 0x3e, selfIpi: 0x3f,
} as const;

/** Error status bits. @sdm 3A 11.5.3 */
export const apicError = { sendIllegalVector: 0x20, receiveIllegalVector: 0x40, illegalRegister: 0x80 } as const;

export const lvtMasked = 0x10000;
export const lvtRemoteIrr = 0x4000;
export const lvtLevel = 0x8000;
export const lvtActiveLow = 0x2000;

export interface LvtRow {
  readonly name: string;
  readonly register: number;
  /** Bits software may set; the rest are reserved or read-only. */
  readonly writable: number;
}

/** The six LVT entries, in register order. @sdm 3A figure 11-8 */
export const lvtRows: readonly LvtRow[] = [
  { name: 'timer', register: apicRegister.lvtTimer, writable: 0x000700ff },
  { name: 'thermal', register: apicRegister.lvtThermal, writable: 0x000107ff },
  { name: 'performance', register: apicRegister.lvtPerformance, writable: 0x000107ff },
  { name: 'lint0', register: apicRegister.lvtLint0, writable: 0x0001a7ff },
  { name: 'lint1', register: apicRegister.lvtLint1, writable: 0x0001a7ff },
  { name: 'error', register: apicRegister.lvtError, writable: 0x000100ff },
];

/** LVT timer modes, bits 18:17. @sdm 3A 11.5.4 */
export const timerMode = { oneShot: 0, periodic: 1, tscDeadline: 2 } as const;

/** Version 15H, six LVT entries, EOI-broadcast suppression supported. @sdm 3A 11.4.8 */
export const apicVersion = 0x01050015;

/** IA32_APIC_BASE bits. @sdm 3A 11.4.4 */
export const apicBaseBit = { bsp: 0x100, x2apic: 0x400, enable: 0x800 } as const;

export const msrApicBase = 0x1b;
export const msrTscDeadline = 0x6e0;
export const msrX2apicFirst = 0x800;
export const msrX2apicLast = 0x8ff;

export interface X2apicRow {
  readonly read: boolean;
  readonly write: boolean;
  /** Bits of the low half that a write may set; any other gives #GP. */
  readonly writable: number;
}

/** x2APIC registers that are read-only, write-only, or whose writes have reserved bits. Absent rows do not exist: #GP. @sdm 3A table 11-6 */
export const x2apicRows: ReadonlyMap<number, X2apicRow> = new Map<number, X2apicRow>([
  [apicRegister.id, { read: true, write: false, writable: 0 }],
  [apicRegister.version, { read: true, write: false, writable: 0 }],
  [apicRegister.tpr, { read: true, write: true, writable: 0xff }],
  [apicRegister.ppr, { read: true, write: false, writable: 0 }],
  [apicRegister.eoi, { read: false, write: true, writable: 0 }],
  [apicRegister.ldr, { read: true, write: false, writable: 0 }],
  [apicRegister.svr, { read: true, write: true, writable: 0x13ff }],
  ...Array.from({ length: 24 }, (_, index): [number, X2apicRow] => [apicRegister.isr + index, { read: true, write: false, writable: 0 }]),
  [apicRegister.esr, { read: true, write: true, writable: 0 }],
  [apicRegister.icrLow, { read: true, write: true, writable: 0xccfff }],
  // Delivery status and remote IRR are read-only here, not reserved: a value read may be written back.
  ...lvtRows.map(({ register, writable }): [number, X2apicRow] => [register, { read: true, write: true, writable: writable | 0x5000 }]),
  [apicRegister.initialCount, { read: true, write: true, writable: 0xffffffff }],
  [apicRegister.currentCount, { read: true, write: false, writable: 0 }],
  [apicRegister.divide, { read: true, write: true, writable: 0xb }],
  [apicRegister.selfIpi, { read: false, write: true, writable: 0xff }],
]);
