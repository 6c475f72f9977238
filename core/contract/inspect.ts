/** Looking into a machine: what may be asked, and the tables that answer it. */
import * as z from 'zod';
import { hexNumber } from './exits.ts';
import { CPUS_MAXIMUM } from './limits.ts';

/** Bytes of memory that one query shows at most, and instructions. */
export const INSPECT_BYTES = 4096;
export const INSPECT_INSTRUCTIONS = 256;

export const addressSpace = z.enum(['virtual', 'physical']);

/** What is a processor's own is asked of one; absent: the first. */
const ofVcpu = { vcpu: z.int().min(0).max(CPUS_MAXIMUM - 1).optional() };

export const inspectQuery = z.discriminatedUnion('what', [
  /** General, segment, control, debug and model-specific registers, decoded. */
  z.strictObject({ what: z.literal('registers'), ...ofVcpu }),
  /** x87, MMX and SSE state. */
  z.strictObject({ what: z.literal('vectors'), ...ofVcpu }),
  /** How a linear address is translated now, step by step. */
  z.strictObject({ what: z.literal('walk'), ...ofVcpu, address: hexNumber }),
  /** The look-aside tables' entries. */
  z.strictObject({ what: z.literal('tlb'), ...ofVcpu }),
  /** The current VMCS of the guest's own hypervisor. */
  z.strictObject({ what: z.literal('vmcs'), ...ofVcpu }),
  /** What root mode lets the guest do without an exit, by EPT and bitmaps; with an address, its walk through that EPT. */
  z.strictObject({ what: z.literal('root'), address: hexNumber.nullable() }),
  /** Local APIC, I/O APIC and the 8259A pair. */
  z.strictObject({ what: z.literal('interrupts') }),
  /** Who answers which guest-physical addresses and ports. */
  z.strictObject({ what: z.literal('map') }),
  /** Disassembly from an address on, or around RIP. */
  z.strictObject({ what: z.literal('code'), ...ofVcpu, address: hexNumber.nullable(), count: z.int().min(1).max(INSPECT_INSTRUCTIONS) }),
  /** Traffic of assigned devices, and the guest's VT-d unit: its devices, with `detail` also its registers and interrupt table. */
  z.strictObject({ what: z.literal('iommu'), detail: z.boolean() }),
  /** How a device's DMA address is translated, step by step; the device as `00:03.0`. */
  z.strictObject({ what: z.literal('iommu-walk'), device: z.string().max(16), pasid: z.int().min(0).max(0xfffff).nullable(), address: hexNumber, write: z.boolean() }),
  /** Requests of devices that were refused. */
  z.strictObject({ what: z.literal('iommu-faults') }),
  /** Memory as bytes and text, `line` bytes a row (16). */
  z.strictObject({ what: z.literal('memory'), ...ofVcpu, space: addressSpace, address: hexNumber, length: z.int().min(1).max(INSPECT_BYTES), line: z.literal([8, 16]).optional() }),
]);
export type InspectQuery = z.infer<typeof inspectQuery>;

export type InspectSubject = InspectQuery['what'];

/** A table. Every row has as many cells as there are columns; numbers are hexadecimal. */
export const inspectSection = z.strictObject({
  title: z.string().max(80),
  columns: z.array(z.string().max(40)).min(1).max(12),
  rows: z.array(z.array(z.string().max(4000)).max(12)).max(20_000),
  /** What a reader should know of it; may be empty. */
  note: z.string().max(500),
});
export type InspectSection = z.infer<typeof inspectSection>;
