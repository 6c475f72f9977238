/** Every reason for which the unit refuses a request. @vtd 7.1.3 */

interface FaultRow {
  readonly code: number;
  /** A qualified fault is not reported when an entry that led there disables fault processing (FPD). */
  readonly qualified: boolean;
  readonly text: string;
}

const qualified = (code: number, text: string): FaultRow => ({ code, qualified: true, text });
const always = (code: number, text: string): FaultRow => ({ code, qualified: false, text });

export const faultReasons = {
  // Legacy mode.
  rootNotPresent: always(0x01, 'the root entry of the bus is not present'),
  contextNotPresent: qualified(0x02, 'the context entry of the device is not present'),
  contextInvalid: qualified(0x03, 'the context entry has a translation type or address width that is not supported'),
  addressBeyondWidth: qualified(0x04, 'the address is beyond the width of the domain'),
  writeNotPermitted: qualified(0x05, 'the page tables do not permit the write'),
  readNotPermitted: qualified(0x06, 'the page tables do not permit the read'),
  pageTableUnreachable: qualified(0x07, 'a page-table entry lies where there is no memory'),
  rootUnreachable: always(0x08, 'the root table lies where there is no memory'),
  contextUnreachable: always(0x09, 'the context table lies where there is no memory'),
  rootReserved: always(0x0a, 'the root entry has a reserved bit set'),
  contextReserved: qualified(0x0b, 'the context entry has a reserved bit set'),
  pageReserved: qualified(0x0c, 'a page-table entry has a reserved bit set'),
  translationBlocked: qualified(0x0d, 'the context entry blocks translation requests and translated requests'),
  interruptPage: qualified(0x0e, 'the page tables lead to the interrupt address range'),
  // Interrupt remapping.
  interruptReserved: always(0x20, 'the interrupt request has a reserved bit set'),
  interruptIndex: always(0x21, 'the interrupt index is beyond the table'),
  interruptNotPresent: qualified(0x22, 'the interrupt remapping entry is not present'),
  interruptUnreachable: always(0x23, 'the interrupt remapping table lies where there is no memory'),
  interruptEntryReserved: qualified(0x24, 'the interrupt remapping entry has a reserved bit set'),
  interruptCompatibility: always(0x25, 'a compatibility format interrupt is blocked'),
  interruptSource: qualified(0x26, 'the interrupt is not the requester\'s own'),
  postedUnreachable: qualified(0x27, 'the posted-interrupt descriptor lies where there is no memory'),
  postedReserved: qualified(0x28, 'the posted-interrupt descriptor has a reserved bit set'),
  // Scalable mode: root table address.
  tableModeInvalid: always(0x30, 'the translation table mode is reserved'),
  pasidInLegacyMode: always(0x31, 'a request with PASID while the unit is in legacy mode'),
  // Root and context entries.
  scalableRootUnreachable: always(0x38, 'the root table lies where there is no memory'),
  scalableRootNotPresent: always(0x39, 'the root entry of the bus is not present'),
  scalableRootReserved: always(0x3a, 'the root entry has a reserved bit set'),
  scalableContextUnreachable: always(0x40, 'the context table lies where there is no memory'),
  scalableContextNotPresent: qualified(0x41, 'the context entry of the device is not present'),
  scalableContextReserved: qualified(0x42, 'the context entry has a reserved bit set'),
  deviceTlbDisabled: qualified(0x44, 'the context entry does not enable the device TLB'),
  pasidDisabled: qualified(0x45, 'the context entry does not enable requests with PASID'),
  pasidTooLarge: qualified(0x46, 'the PASID is beyond the directory'),
  // PASID directory and table.
  directoryUnreachable: qualified(0x50, 'the PASID directory lies where there is no memory'),
  directoryNotPresent: qualified(0x51, 'the PASID directory entry is not present'),
  directoryReserved: qualified(0x52, 'the PASID directory entry has a reserved bit set'),
  pasidUnreachable: qualified(0x58, 'the PASID table lies where there is no memory'),
  pasidNotPresent: qualified(0x59, 'the PASID entry is not present'),
  pasidReserved: qualified(0x5a, 'the PASID entry has a reserved bit set'),
  pasidInvalid: qualified(0x5b, 'the PASID entry has a translation type or address width that is not supported'),
  executeDisabled: qualified(0x5c, 'the PASID entry does not enable execute requests'),
  supervisorDisabled: qualified(0x5d, 'the PASID entry does not enable supervisor requests'),
  // First-stage page tables.
  firstUnreachable: qualified(0x70, 'a first-stage entry lies where there is no memory'),
  firstNotPresent: qualified(0x71, 'a first-stage entry is not present'),
  firstReserved: qualified(0x72, 'a first-stage entry has a reserved bit set'),
  firstTopUnreachable: qualified(0x73, 'the top first-stage table lies where there is no memory'),
  firstBeyondWidth: qualified(0x74, 'a first-stage table lies beyond the width of the second stage'),
  firstTopNotReadable: qualified(0x75, 'the second stage does not permit the read of the top first-stage table'),
  firstNotReadable: qualified(0x76, 'the second stage does not permit the read of a first-stage entry'),
  firstNotWritable: qualified(0x77, 'the second stage does not permit the accessed or dirty bit of a first-stage entry'),
  // Second-stage page tables.
  secondUnreachable: qualified(0x78, 'a second-stage entry lies where there is no memory'),
  secondNotPresent: qualified(0x79, 'a second-stage entry is not present'),
  secondReserved: qualified(0x7a, 'a second-stage entry has a reserved bit set'),
  secondTopUnreachable: qualified(0x7b, 'the top second-stage table lies where there is no memory'),
  // Results.
  notCanonical: qualified(0x80, 'the address is not canonical'),
  userNotPermitted: qualified(0x81, 'the first stage does not permit user requests'),
  executeNotPermitted: qualified(0x82, 'the first stage does not permit the execute request'),
  beyondHostWidth: qualified(0x83, 'the address is beyond what the platform has'),
  beyondSecondWidth: qualified(0x84, 'the address is beyond the width of the second stage'),
  scalableWriteNotPermitted: qualified(0x85, 'the page tables do not permit the write'),
  scalableReadNotPermitted: qualified(0x86, 'the page tables do not permit the read'),
  scalableInterruptPage: qualified(0x87, 'the page tables lead to the interrupt address range'),
} as const satisfies Record<string, FaultRow>;

export type FaultName = keyof typeof faultReasons;

const byCode = new Map(Object.values<FaultRow>(faultReasons).map(row => [row.code, row]));

/** What a fault reason means, for people. */
export function describeFault(code: number): string {
  return byCode.get(code)?.text ?? `unknown fault reason ${code.toString(16)}H`;
}

/** Whether a request with this fault was an interrupt. */
export function isInterruptFault(code: number): boolean {
  return code >= 0x20 && code < 0x30;
}

/** A refused request. */
export interface Fault {
  readonly kind: 'fault';
  readonly reason: FaultName;
  /** False when an entry with FPD set led there and the reason is a qualified one. */
  readonly reported: boolean;
}

/** @param disabled whether one of the entries read so far has FPD set */
export function fault(reason: FaultName, disabled = false): Fault {
  return { kind: 'fault', reason, reported: !(disabled && faultReasons[reason].qualified) };
}
