/** The structures in memory that lead from a requester to its page tables, as rows of fields. @vtd 9 */

import { uncovered } from './fields.ts';
import type { FieldRow } from './fields.ts';

type Fields = Readonly<Record<string, FieldRow>>;

/** Half of a root entry. Legacy mode uses the low half for a whole bus, scalable mode one for devices 0 to 15 and one for 16 to 31. @vtd 9.1, 9.2 */
export const rootHalf = { present: [0, 1], table: [12, 52] } as const satisfies Fields;

/** @vtd 9.3 */
export const legacyContext = {
  present: [0, 1], faultDisable: [1, 1], type: [2, 2], table: [12, 52], width: [64, 3], ignored: [67, 4], domain: [72, 16],
} as const satisfies Fields;

/** Translation types of a legacy context entry. */
export const translationType = { untranslated: 0, deviceTlb: 1, passThrough: 2 } as const;

/** @vtd 9.4 */
export const scalableContext = {
  present: [0, 1], faultDisable: [1, 1], deviceTlb: [2, 1], pasid: [3, 1], directorySize: [9, 3], directory: [12, 52], ridPasid: [64, 20], ridPrivilege: [84, 1],
} as const satisfies Fields;

/** @vtd 9.5 */
export const directoryEntry = { present: [0, 1], faultDisable: [1, 1], table: [12, 52] } as const satisfies Fields;

/** The four quadwords of a PASID table entry that have fields. @vtd 9.6 */
export const pasidEntry = {
  present: [0, 1], faultDisable: [1, 1], width: [2, 3], type: [6, 3], secondAccessed: [9, 1], second: [12, 52],
  domain: [64, 16], pageSnoop: [87, 2], cacheDisable: [89, 1], memoryTypes: [90, 6], attributes: [96, 32],
  supervisor: [128, 1], execute: [129, 1], firstMode: [130, 2], writeProtect: [132, 1], noExecute: [133, 1], supervisorExecute: [134, 1],
  first: [140, 52],
} as const satisfies Fields;

/** PASID granular translation types. */
export const pasidType = { first: 1, second: 2, nested: 3, passThrough: 4 } as const;

/** @vtd 9.9 */
export const interruptEntry = {
  present: [0, 1], faultDisable: [1, 1], logical: [2, 1], redirectionHint: [3, 1], level: [4, 1], mode: [5, 3], available: [8, 4], posted: [15, 1],
  vector: [16, 8], destination: [32, 32], source: [64, 16], sourceQualifier: [80, 2], validation: [82, 2],
} as const satisfies Fields;

/** The same entry with `posted` set. @vtd 9.10 */
export const postedEntry = {
  present: [0, 1], faultDisable: [1, 1], available: [8, 4], urgent: [14, 1], posted: [15, 1], vector: [16, 8], descriptorLow: [38, 26],
  source: [64, 16], sourceQualifier: [80, 2], validation: [82, 2], descriptorHigh: [96, 32],
} as const satisfies Fields;

export const sourceValidation = { none: 0, requester: 1, bus: 2 } as const;

/** The second half of a posted-interrupt descriptor; 256 request bits go before it. @vtd 9.11 */
export const postedControl = { outstanding: [0, 1], suppress: [1, 1], vector: [16, 8], destination: [32, 32] } as const satisfies Fields;

/** Reserved bits, from the fields. Address fields are checked against the host's address width besides. */
export const reserved = {
  rootHalf: uncovered(rootHalf, 64),
  legacyContext: uncovered(legacyContext, 128),
  scalableContext: uncovered(scalableContext, 256),
  directoryEntry: uncovered(directoryEntry, 64),
  pasidEntry: uncovered(pasidEntry, 512),
  interruptEntry: uncovered(interruptEntry, 128),
  postedEntry: uncovered(postedEntry, 128),
  postedControl: uncovered(postedControl, 64),
} as const;
