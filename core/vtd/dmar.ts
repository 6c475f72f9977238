/** The body of ACPI's DMAR table: where the unit is, and which devices are in front of it. @vtd 8 */

import { vtdBase } from '../platform/memoryLayout.ts';

/** A range that firmware's own devices use, mapped one to one for them. */
export interface ReservedRegion {
  readonly base: number;
  /** Last byte. */
  readonly limit: number;
  /** Requester IDs on bus 0. */
  readonly devices: readonly number[];
}

export interface DmarOptions {
  readonly hostAddressBits: number;
  readonly ioApicId: number;
  readonly ioApicRequester: number;
  readonly reservedRegions?: readonly ReservedRegion[];
}

const scopeType = { endpoint: 1, ioApic: 3 } as const;
const interruptRemapping = 1;
const includeAll = 1;
const deviceTlb = 2;

function little(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, index) => Math.floor(value / 256 ** index) % 256);
}

function scope(type: number, id: number, requester: number): number[] {
  return [type, 8, 0, 0, id, requester >>> 8, (requester >>> 3) & 31, requester & 7];
}

/** A remapping structure: type, length, contents. */
function structure(type: number, contents: readonly number[]): number[] {
  return [...little(type, 2), ...little(contents.length + 4, 2), ...contents];
}

export function dmarBody({ hostAddressBits, ioApicId, ioApicRequester, reservedRegions = [] }: DmarOptions): Uint8Array {
  const unit = structure(0, [includeAll, 0, 0, 0, ...little(vtdBase, 8), ...scope(scopeType.ioApic, ioApicId, ioApicRequester)]);
  const reserved = reservedRegions.map(({ base, limit, devices }) => (
    structure(1, [0, 0, 0, 0, ...little(base, 8), ...little(limit, 8), ...devices.flatMap(device => scope(scopeType.endpoint, 0, device))])
  ));
  // Every root port lets devices use a TLB of their own.
  const ports = structure(deviceTlb, [1, 0, 0, 0]);
  return Uint8Array.from([hostAddressBits - 1, interruptRemapping, ...Array.from({ length: 10 }, () => 0), ...unit, ...reserved.flat(), ...ports]);
}
