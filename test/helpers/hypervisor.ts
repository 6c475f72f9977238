/**
 * A small hypervisor as a multiboot image: 32-bit code that turns on paging and VMX, fills a VMCS and enters a guest. The guest is 32-bit
 * code without paging, which memory is mapped for as it is by EPT.
 */
import { Assembler } from '../../core/isa/assembler.ts';
import { absolute, at, dword, mem, offsetOf, register as r } from '../../core/isa/registers.ts';
import { VMCS_REVISION } from '../../core/vmx/vmcs.ts';
import * as F from '../../core/vmx/fields.ts';

export const BASE = 0x100000;
export const IDT = 0x108000;
export const GDT = 0x108900;
export const STACK = 0x200000;
export const DIRECTORY = 0x400000;
const VMXON_REGION = 0x401000;
export const VMCS_REGION = 0x402000;
export const EPT = 0x403000;
export const MSR_BITMAPS = 0x405000;
const START = 0x20;
const FLAT_PAGES = 0xe3;
const FLAT_CODE = 0x00cf9b000000ffffn;
const FLAT_DATA = 0x00cf93000000ffffn;
const CODE = 0xc09b;
const DATA = 0xc093;
export const EPT_ALL = 0xb7;

export type Fields = readonly (readonly [number, number])[];

/** A VMCS that every check lets pass, with EPT, unrestricted guest, VPID, MSR bitmaps, and exits for HLT and #UD. */
export const VALID: Fields = [
  [F.PIN_BASED_CONTROLS, 0x16 | 0x8], [F.PRIMARY_CONTROLS, (0x04006172 | 0x90000080) >>> 0], [F.SECONDARY_CONTROLS, 0xa2], [F.EXIT_CONTROLS, 0x36dff],
  [F.ENTRY_CONTROLS, 0x11ff], [F.EXCEPTION_BITMAP, 0x40], [F.EPT_POINTER, EPT | 0x1e], [F.EPT_POINTER + 1, 0], [F.VIRTUAL_PROCESSOR_IDENTIFIER, 1],
  [F.VMCS_LINK_POINTER, 0xffffffff], [F.VMCS_LINK_POINTER + 1, 0xffffffff], [F.ENTRY_INTERRUPTION_INFORMATION, 0], [F.MSR_BITMAPS, MSR_BITMAPS],
  [F.ENTRY_MSR_LOAD_COUNT, 0], [F.EXIT_MSR_LOAD_COUNT, 0], [F.EXIT_MSR_STORE_COUNT, 0],
  [F.HOST_CR0, 0x80000031], [F.HOST_CR3, DIRECTORY], [F.HOST_CR4, 0x2010], [F.HOST_CS_SELECTOR, 0x10], [F.HOST_SS_SELECTOR, 0x18], [F.HOST_DS_SELECTOR, 0x18],
  [F.HOST_ES_SELECTOR, 0x18], [F.HOST_TR_SELECTOR, 0x18], [F.HOST_IDTR_BASE, IDT], [F.HOST_GDTR_BASE, GDT], [F.HOST_RSP, STACK],
  [F.GUEST_CR0, 0x31], [F.GUEST_CR4, 0x2010], [F.GUEST_CR3, DIRECTORY], [F.GUEST_RFLAGS, 2], [F.GUEST_RSP, STACK - 0x1000], [F.GUEST_INTERRUPTIBILITY_STATE, 0],
  [F.GUEST_ACTIVITY_STATE, 0], [F.GUEST_PENDING_DEBUG_EXCEPTIONS, 0], [F.GUEST_GDTR_BASE, GDT], [F.GUEST_GDTR_LIMIT, 31], [F.GUEST_IDTR_BASE, IDT],
  [F.GUEST_IDTR_LIMIT, 0x7ff], [F.GUEST_DR7, 0x400],
  [F.GUEST_CS_SELECTOR, 0x10], [F.GUEST_CS_ACCESS_RIGHTS, CODE], [F.GUEST_CS_LIMIT, 0xffffffff], [F.GUEST_CS_BASE, 0],
  ...[F.GUEST_ES_SELECTOR, F.GUEST_SS_SELECTOR, F.GUEST_DS_SELECTOR, F.GUEST_FS_SELECTOR, F.GUEST_GS_SELECTOR].map(field => [field, 0x18] as const),
  ...[F.GUEST_ES_ACCESS_RIGHTS, F.GUEST_SS_ACCESS_RIGHTS, F.GUEST_DS_ACCESS_RIGHTS, F.GUEST_FS_ACCESS_RIGHTS, F.GUEST_GS_ACCESS_RIGHTS].map(field => [field, DATA] as const),
  ...[F.GUEST_ES_LIMIT, F.GUEST_SS_LIMIT, F.GUEST_DS_LIMIT, F.GUEST_FS_LIMIT, F.GUEST_GS_LIMIT].map(field => [field, 0xffffffff] as const),
  [F.GUEST_TR_SELECTOR, 0x18], [F.GUEST_TR_ACCESS_RIGHTS, 0x8b], [F.GUEST_TR_LIMIT, 0x67], [F.GUEST_LDTR_ACCESS_RIGHTS, 0x10000],
];

/** Tables, paging, VMXON and VMCLEAR; EPT is one page of 1 GiB with the given entry. */
export function prepare(a: Assembler, eptEntry: number): void {
  a.emit('MOV', r.esp, STACK).emit('LGDT', at('gdtr')).emit('LIDT', at('idtr'));
  // The timer of the 8259A, which firmware leaves running.
  a.emit('MOV', r.eax, 0xff).emit('OUT', 0x21, r.al);
  for (let i = 0; i < 4; i++) a.emit('MOV', dword(absolute(DIRECTORY + i * 4)), (i << 22) | FLAT_PAGES);
  a.emit('MOV', dword(absolute(EPT)), (EPT + 0x1000) | 7).emit('MOV', dword(absolute(EPT + 0x1000)), eptEntry);
  for (const region of [VMXON_REGION, VMCS_REGION]) a.emit('MOV', dword(absolute(region)), VMCS_REVISION);
  a.emit('MOV', r.eax, DIRECTORY).emit('MOV', r.cr3, r.eax).emit('MOV', r.eax, 0x2010).emit('MOV', r.cr4, r.eax);
  a.emit('MOV', r.eax, r.cr0).emit('OR', r.eax, 0x80000020 | 0).emit('MOV', r.cr0, r.eax);
  a.emit('MOV', r.ecx, 0x3a).emit('MOV', r.eax, 5).emit('XOR', r.edx, r.edx).emit('WRMSR');
  a.emit('VMXON', at('vmxonPointer')).emit('VMCLEAR', at('vmcsPointer'));
}

/** Makes the VMCS current and writes `count` pairs of field and value from the label `valid` into it; exits go to the label `host`. */
export function fill(a: Assembler, count: number, host: string): void {
  a.emit('VMPTRLD', at('vmcsPointer')).emit('MOV', r.esi, offsetOf('valid')).emit('MOV', r.ecx, count);
  a.label('write').emit('MOV', r.eax, mem(r.esi)).emit('VMWRITE', r.eax, mem(r.esi, 4)).emit('ADD', r.esi, 8).emit('DEC', r.ecx).emit('JNZ', 'write');
  a.emit('MOV', r.eax, F.HOST_RIP).emit('MOV', r.edx, offsetOf(host)).emit('VMWRITE', r.eax, r.edx);
}

/** What the code above reads. */
export function data(a: Assembler, fields: Fields): void {
  a.align(8).label('valid').words(4, ...fields.flatMap(([field, value]) => [BigInt(field), BigInt(value >>> 0)]));
  a.label('vmxonPointer').words(8, BigInt(VMXON_REGION)).label('vmcsPointer').words(8, BigInt(VMCS_REGION)).label('idtr').words(2, 0x7ffn).words(4, BigInt(IDT));
  a.label('gdtr').words(2, 31n).words(4, BigInt(GDT));
}

/** Puts the program into an image with its descriptor tables; every vector leads to `handler`. */
export function finish(a: Assembler, image: Uint8Array, handler: string): Uint8Array {
  const view = new DataView(image.buffer);
  image.fill(0, START, IDT - BASE);
  image.set(a.finish(), START);
  [0n, 0n, FLAT_CODE, FLAT_DATA].forEach((descriptor, i) => view.setBigUint64(GDT - BASE + i * 8, descriptor, true));
  for (let vector = 0; vector < 256; vector++) {
    const gate = IDT - BASE + vector * 8;
    view.setUint32(gate, (0x10 << 16) | (a.addressOf(handler) & 0xffff), true);
    view.setUint32(gate + 4, ((a.addressOf(handler) & 0xffff0000) | 0x8e00) >>> 0, true);
  }
  return image;
}

export function hypervisorCode(): Assembler {
  return new Assembler(32, BASE + START);
}

/** The image of a hypervisor that enters `guest` once; `host` is where its first exit goes. A failed entry or a fault ends with 0xbad on the debug-exit port. */
export function hypervisorImage(guest: (a: Assembler) => void, host: (a: Assembler) => void, fields: Fields = []): Uint8Array {
  const a = hypervisorCode();
  const all = [...VALID, ...fields];
  prepare(a, EPT_ALL);
  fill(a, all.length, 'host');
  a.emit('MOV', r.eax, F.GUEST_RIP).emit('MOV', r.edx, offsetOf('guest')).emit('VMWRITE', r.eax, r.edx).emit('VMLAUNCH');
  a.label('failed').emit('MOV', r.eax, 0xbad).emit('OUT', 0xf4, r.eax).emit('HLT');
  a.label('host');
  host(a);
  a.label('guest');
  guest(a);
  data(a, all);
  const end = 0x10a000;
  const image = new Uint8Array(end - BASE);
  const header = new DataView(image.buffer);
  [0x1badb002, 0x10000, -(0x1badb002 + 0x10000) >>> 0, BASE, BASE, end, end, BASE + START].forEach((value, i) => header.setUint32(i * 4, value >>> 0, true));
  return finish(a, image, 'failed');
}
