/** What a unit can do: the fields of its capability registers, and their values for a configuration. @vtd 11.4.2, 11.4.3 */

import { pack } from './fields.ts';
import type { FieldRow } from './fields.ts';

export interface VtdOptions {
  /** Physical address width of the platform, at most 52. */
  readonly hostAddressBits: number;
  /** Scalable mode: PASIDs, first-stage and nested translation. */
  readonly scalable: boolean;
  /** Software must invalidate when it makes an entry present too. For a unit whose tables something else shadows. */
  readonly cachingMode: boolean;
  /** x2APIC destinations in interrupt remapping entries. */
  readonly extendedInterruptMode: boolean;
}

export const vtdDefaults: Omit<VtdOptions, 'hostAddressBits'> = { scalable: true, cachingMode: false, extendedInterruptMode: true };

/** CAP_REG. */
export const capability = {
  domains: [0, 3], advancedFaultLog: [3, 1], writeBufferFlush: [4, 1], protectedLow: [5, 1], protectedHigh: [6, 1], cachingMode: [7, 1],
  widths: [8, 5], maximumWidth: [16, 6], zeroLengthRead: [22, 1], faultOffset: [24, 10], largePages: [34, 4], pageSelective: [39, 1], faultRecords: [40, 8],
  addressMask: [48, 6], writeDrain: [54, 1], readDrain: [55, 1], firstLargePages: [56, 1], posted: [59, 1], firstFiveLevels: [60, 1],
} as const satisfies Record<string, FieldRow>;

/** ECAP_REG. */
export const extendedCapability = {
  coherent: [0, 1], queuedInvalidation: [1, 1], deviceTlb: [2, 1], interruptRemapping: [3, 1], extendedInterruptMode: [4, 1], passThrough: [6, 1],
  snoop: [7, 1], iotlbOffset: [8, 10], handleMask: [20, 4], nested: [26, 1], execute: [30, 1], supervisor: [31, 1], pasidSize: [35, 5], pasid: [40, 1],
  scalable: [43, 1], secondAccessed: [45, 1], secondStage: [46, 1], firstStage: [47, 1], scalableCoherent: [48, 1], ridPasid: [49, 1], ridPrivilege: [53, 1],
} as const satisfies Record<string, FieldRow>;

/** Where the registers that the capabilities place lie. */
export const iotlbOffset = 0xf0;
export const faultRecordOffset = 0x220;
export const faultRecords = 8;

/** Widths of a second stage: a context entry's value, its bit in SAGAW, its levels. */
export const secondLevels: ReadonlyMap<number, number> = new Map([[1, 3], [2, 4], [3, 5]]);
/** The widest address a device may use: five levels. */
export const maximumAddressBits = 57;

export function capabilityValue(options: VtdOptions): bigint {
  const scalable = options.scalable ? 1 : 0;
  return pack(capability, {
    // 64 Ki domain IDs.
    domains: 6, protectedLow: 1, protectedHigh: 1, cachingMode: options.cachingMode ? 1 : 0, widths: 0b01110, maximumWidth: maximumAddressBits - 1,
    zeroLengthRead: 1, faultOffset: faultRecordOffset / 16, largePages: 0b0011, pageSelective: 1, faultRecords: faultRecords - 1, addressMask: 18,
    writeDrain: 1, readDrain: 1, firstLargePages: scalable, posted: 1, firstFiveLevels: scalable,
  });
}

export function extendedCapabilityValue(options: VtdOptions): bigint {
  const scalable = options.scalable ? 1 : 0;
  return pack(extendedCapability, {
    coherent: 1, queuedInvalidation: 1, deviceTlb: 1, interruptRemapping: 1, extendedInterruptMode: options.extendedInterruptMode ? 1 : 0, passThrough: 1,
    snoop: 1, iotlbOffset: iotlbOffset / 16, handleMask: 15, nested: scalable, execute: scalable, supervisor: scalable, pasidSize: scalable === 1 ? 19 : 0,
    pasid: scalable, scalable, secondAccessed: scalable, secondStage: scalable, firstStage: scalable, scalableCoherent: scalable, ridPasid: scalable,
    ridPrivilege: scalable,
  });
}
