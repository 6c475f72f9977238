/**
 * A hostile hypervisor: a multiboot image that turns on VMX, fills a VMCS with valid fields, and from then on changes fields at random
 * between VM entries of a guest that executes noise. Now and then it makes the VMCS valid again, so that entries succeed too. Its paging
 * structures, MSR areas and bitmaps overlap the VMCS, each other and the noise.
 */
import { Assembler } from '../../core/isa/assembler.ts';
import { absolute, at, dword, indexed, mem, offsetOf, register as r } from '../../core/isa/registers.ts';
import { FIELDS, VMCS_REVISION } from '../../core/vmx/vmcs.ts';
import * as F from '../../core/vmx/fields.ts';
import { hostileImage, randomSource } from './guest.ts';

const BASE = 0x100000;
/** Where `hostileImage` has its noise. */
const BODY = 0x110000;
const START = 0x20;
const DIRECTORY = 0x400000;
const VMXON_REGION = 0x401000;
const VMCS_REGION = 0x402000;
const EPT = 0x403000;
const RANDOM = 0x300010;
const STACK = 0x200000;
const IDT = 0x108000;
const FLAT_PAGES = 0xe3;
const CODE = 0xc09b;
const DATA = 0xc093;
const CODE_SELECTOR = 0x10;
/** Fields that one turn may change. */
const SPOILED = 4;
/** A guest that can write ruins its hypervisor sooner or later. */
const EPT_ALL = 0xb7;
const EPT_NO_WRITES = 0xb5;
const GDT = 0x108900;
const FLAT_CODE = 0x00cf9b000000ffffn;
const FLAT_DATA = 0x00cf93000000ffffn;
/** Turns between two repairs of the VMCS. */
const REPAIR_MASK = 7;

/** Controls that a valid VMCS has: the default1 class, exits for most things, and the preemption timer so that no guest runs forever. */
const VALID: readonly (readonly [number, number])[] = [
  [F.PIN_BASED_CONTROLS, 0x16 | 0x49], [F.PRIMARY_CONTROLS, (0x04006172 | 0x80000080) >>> 0], [F.SECONDARY_CONTROLS, 0xa2], [F.EXIT_CONTROLS, 0x36dff],
  [F.ENTRY_CONTROLS, 0x11ff], [F.EXCEPTION_BITMAP, 0x40000], [F.EPT_POINTER, EPT | 0x1e], [F.EPT_POINTER + 1, 0], [F.VIRTUAL_PROCESSOR_IDENTIFIER, 1],
  [F.VMCS_LINK_POINTER, 0xffffffff], [F.VMCS_LINK_POINTER + 1, 0xffffffff], [F.PREEMPTION_TIMER_VALUE, 200], [F.ENTRY_INTERRUPTION_INFORMATION, 0],
  [F.ENTRY_MSR_LOAD_COUNT, 0], [F.EXIT_MSR_LOAD_COUNT, 0], [F.EXIT_MSR_STORE_COUNT, 0], [F.IO_BITMAP_A, VMCS_REGION], [F.IO_BITMAP_B, EPT], [F.MSR_BITMAPS, BODY],
  [F.HOST_CR0, 0x80000031], [F.HOST_CR3, DIRECTORY], [F.HOST_CR4, 0x2010], [F.HOST_CS_SELECTOR, 0x10], [F.HOST_SS_SELECTOR, 0x18], [F.HOST_DS_SELECTOR, 0x18],
  [F.HOST_ES_SELECTOR, 0x18], [F.HOST_TR_SELECTOR, 0x18], [F.HOST_IDTR_BASE, IDT], [F.HOST_GDTR_BASE, GDT], [F.HOST_RSP, STACK],
  [F.GUEST_CR0, 0x31], [F.GUEST_CR4, 0x2010], [F.GUEST_CR3, DIRECTORY], [F.GUEST_RFLAGS, 2], [F.GUEST_RSP, STACK], [F.GUEST_INTERRUPTIBILITY_STATE, 0],
  [F.GUEST_ACTIVITY_STATE, 0], [F.GUEST_PENDING_DEBUG_EXCEPTIONS, 0], [F.GUEST_GDTR_BASE, GDT], [F.GUEST_GDTR_LIMIT, 31], [F.GUEST_IDTR_BASE, IDT], [F.GUEST_IDTR_LIMIT, 0x7ff], [F.GUEST_DR7, 0x400],
  [F.GUEST_CS_SELECTOR, 0x10], [F.GUEST_CS_ACCESS_RIGHTS, CODE], [F.GUEST_CS_LIMIT, 0xffffffff], [F.GUEST_CS_BASE, 0],
  ...[F.GUEST_ES_SELECTOR, F.GUEST_SS_SELECTOR, F.GUEST_DS_SELECTOR, F.GUEST_FS_SELECTOR, F.GUEST_GS_SELECTOR].map(field => [field, 0x18] as const),
  ...[F.GUEST_ES_ACCESS_RIGHTS, F.GUEST_SS_ACCESS_RIGHTS, F.GUEST_DS_ACCESS_RIGHTS, F.GUEST_FS_ACCESS_RIGHTS, F.GUEST_GS_ACCESS_RIGHTS].map(field => [field, DATA] as const),
  ...[F.GUEST_ES_LIMIT, F.GUEST_SS_LIMIT, F.GUEST_DS_LIMIT, F.GUEST_FS_LIMIT, F.GUEST_GS_LIMIT].map(field => [field, 0xffffffff] as const),
  [F.GUEST_TR_SELECTOR, 0x18], [F.GUEST_TR_ACCESS_RIGHTS, 0x8b], [F.GUEST_TR_LIMIT, 0x67], [F.GUEST_LDTR_ACCESS_RIGHTS, 0x10000],
];

/** The image: the noise of `hostileImage`, under a hypervisor. Entered in flat 32-bit protected mode. */
export function hostileHypervisor(seed: number): Uint8Array {
  const image = hostileImage(seed);
  const random = randomSource(seed);
  const a = new Assembler(32, BASE + START);
  prepareMemory(a, random() | 1);
  enterVmx(a);
  repair(a);
  // Noise in the host state soon ends the hypervisor: one in four only has it.
  const spoiled = seed % 4 === 0 ? FIELDS : FIELDS.filter(({ kind }) => kind !== 'host');
  turn(a, spoiled.length);
  a.align(8).label('valid');
  a.words(4, ...VALID.flatMap(([field, value]) => [field, BigInt(value >>> 0)]).map(BigInt));
  a.label('fields').words(4, ...spoiled.map(({ encoding }) => BigInt(encoding)));
  a.label('vmxonPointer').words(8, BigInt(VMXON_REGION)).label('vmcsPointer').words(8, BigInt(VMCS_REGION)).label('idtr').words(2, 0x7ffn).words(4, BigInt(IDT));
  a.label('gdtr').words(2, 31n).words(4, BigInt(GDT));
  const code = a.finish();
  image.fill(0, START, IDT - BASE);
  image.set(code, START);
  const view = new DataView(image.buffer);
  [0n, 0n, FLAT_CODE, FLAT_DATA].forEach((descriptor, i) => view.setBigUint64(GDT - BASE + i * 8, descriptor, true));
  handleFaults(view, a.addressOf('turn'));
  return image;
}

/** Four 4 MiB pages map memory as it is; EPT has 512 GiB in pages of 1 GiB, the first write-back. */
function prepareMemory(a: Assembler, seed: number): void {
  a.emit('MOV', r.esp, STACK).emit('LGDT', at('gdtr')).emit('LIDT', at('idtr'));
  for (let i = 0; i < 4; i++) a.emit('MOV', dword(absolute(DIRECTORY + i * 4)), (i << 22) | FLAT_PAGES);
  a.emit('MOV', dword(absolute(EPT)), (EPT + 0x1000) | 7).emit('MOV', dword(absolute(EPT + 0x1000)), seed % 3 === 0 ? EPT_ALL : EPT_NO_WRITES);
  for (const region of [VMXON_REGION, VMCS_REGION]) a.emit('MOV', dword(absolute(region)), VMCS_REVISION);
  a.emit('MOV', dword(absolute(RANDOM)), seed);
}

function enterVmx(a: Assembler): void {
  a.emit('MOV', r.eax, DIRECTORY).emit('MOV', r.cr3, r.eax).emit('MOV', r.eax, 0x2010).emit('MOV', r.cr4, r.eax);
  a.emit('MOV', r.eax, r.cr0).emit('OR', r.eax, 0x80000020 | 0).emit('MOV', r.cr0, r.eax);
  a.emit('MOV', r.ecx, 0x3a).emit('MOV', r.eax, 5).emit('XOR', r.edx, r.edx).emit('WRMSR');
  a.emit('VMXON', at('vmxonPointer')).emit('VMCLEAR', at('vmcsPointer'));
}

/** Makes the VMCS current and valid. */
function repair(a: Assembler): void {
  a.label('repair').emit('VMPTRLD', at('vmcsPointer'));
  a.emit('MOV', r.esi, offsetOf('valid')).emit('MOV', r.ecx, VALID.length);
  a.label('write').emit('MOV', r.eax, mem(r.esi)).emit('VMWRITE', r.eax, mem(r.esi, 4)).emit('ADD', r.esi, 8).emit('DEC', r.ecx).emit('JNZ', 'write');
  a.emit('MOV', r.eax, F.HOST_RIP).emit('MOV', r.edx, offsetOf('turn')).emit('VMWRITE', r.eax, r.edx);
}

/** EAX = the next random number. */
function next(a: Assembler): void {
  a.emit('MOV', r.eax, absolute(RANDOM)).emit('IMUL', r.eax, r.eax, 1664525).emit('ADD', r.eax, 1013904223).emit('MOV', absolute(RANDOM), r.eax);
  a.emit('SHR', r.eax, 8);
}

/** One turn: where VM exits, faults and failed entries of the one before lead. */
function turn(a: Assembler, fields: number): void {
  a.label('turn').emit('MOV', r.esp, STACK);
  next(a);
  a.emit('TEST', r.eax, REPAIR_MASK).emit('JNZ', 'spoil');
  repairAgain(a);
  a.label('spoil');
  for (let i = 0; i < SPOILED; i++) spoil(a, i, fields);
  a.emit('MOV', r.ecx, F.GUEST_RIP);
  next(a);
  a.emit('AND', r.eax, 0xffff).emit('ADD', r.eax, BODY).emit('VMWRITE', r.ecx, r.eax);
  a.emit('VMRESUME').emit('VMLAUNCH').emit('JMP', 'turn');
}

/** Sometimes with a VMCS that is cleared, or an interrupt of the look-aside tables. */
function repairAgain(a: Assembler): void {
  a.emit('TEST', r.eax, 0x10).emit('JZ', 'kept').emit('VMCLEAR', at('vmcsPointer')).label('kept');
  a.emit('MOV', r.ecx, 2).emit('INVEPT', r.ecx, at('vmcsPointer')).emit('INVVPID', r.ecx, at('vmcsPointer')).emit('JMP', 'repair');
}

/** Turns a random bit of a random field, or puts noise into it; one in four times only. */
function spoil(a: Assembler, i: number, fields: number): void {
  next(a);
  a.emit('TEST', r.eax, 3).emit('JNZ', `spared${i}`);
  a.emit('SHR', r.eax, 2).emit('XOR', r.edx, r.edx).emit('MOV', r.ecx, fields).emit('DIV', r.ecx);
  a.emit('MOV', r.ebx, { ...indexed(null, r.edx, 4), label: 'fields' });
  next(a);
  a.emit('MOV', r.ecx, r.eax).emit('VMREAD', r.edx, r.ebx).emit('BTC', r.edx, r.ecx).emit('TEST', r.ecx, 0x700).emit('CMOVZ', r.edx, r.eax);
  a.emit('VMWRITE', r.ebx, r.edx).label(`spared${i}`);
}

/** Every exception and interrupt of the hypervisor begins another turn. */
function handleFaults(view: DataView, handler: number): void {
  for (let vector = 0; vector < 256; vector++) {
    const gate = IDT - BASE + vector * 8;
    view.setUint32(gate, (CODE_SELECTOR << 16) | (handler & 0xffff), true);
    view.setUint32(gate + 4, ((handler & 0xffff0000) | 0x8e00) >>> 0, true);
  }
}
