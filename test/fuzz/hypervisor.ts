/**
 * A hostile hypervisor: it fills a VMCS with valid fields, and from then on changes fields at random between VM entries of a guest that
 * executes noise. Now and then it makes the VMCS valid again, so that entries succeed too. Its paging structures, MSR areas and bitmaps
 * overlap the VMCS, each other and the noise.
 */
import type { Assembler } from '../../core/isa/assembler.ts';
import { absolute, at, dword, indexed, register as r } from '../../core/isa/registers.ts';
import { FIELDS } from '../../core/vmx/vmcs.ts';
import * as C from '../../core/vmx/control-bits.ts';
import * as F from '../../core/vmx/fields.ts';
import { EPT, EPT_ALL, STACK, VALID, VMCS_REGION, data, fill, finish, hypervisorCode, prepare } from '../helpers/hypervisor.ts';
import type { Fields } from '../helpers/hypervisor.ts';
import { hostileImage, randomSource } from './guest.ts';

/** Where `hostileImage` has its noise. */
const BODY = 0x110000;
const RANDOM = 0x300010;
/** A guest that can write ruins its hypervisor sooner or later. */
const EPT_NO_WRITES = 0xb5;
/** Turns between two repairs of the VMCS. */
const REPAIR_MASK = 7;
/** Fields that one turn may change. */
const SPOILED = 4;

/** The preemption timer ends every stay in the guest; bitmaps lie where something else does. */
const OVERLAPS: Fields = [
  [F.PIN_BASED_CONTROLS, 0x5f], [F.PREEMPTION_TIMER_VALUE, 200], [F.IO_BITMAP_A, VMCS_REGION], [F.IO_BITMAP_B, EPT], [F.MSR_BITMAPS, BODY],
];

/** Half of them virtualize the APIC: its pages are the noise, the EPT and the stack. */
const APIC: Fields = [
  [F.PIN_BASED_CONTROLS, 0x5f | C.PIN_POSTED_INTERRUPTS], [F.EXIT_CONTROLS, 0x36dff | C.EXIT_ACKNOWLEDGE_INTERRUPT], [F.PRIMARY_CONTROLS, (0x94006172 | C.PRIMARY_TPR_SHADOW) >>> 0],
  [F.SECONDARY_CONTROLS, 0xa2 | C.SECONDARY_APIC_ACCESSES | C.SECONDARY_APIC_REGISTERS | C.SECONDARY_VIRTUAL_INTERRUPTS],
  [F.VIRTUAL_APIC_ADDRESS, EPT + 0x1000], [F.APIC_ACCESS_ADDRESS, BODY + 0x1000], [F.POSTED_INTERRUPT_DESCRIPTOR_ADDRESS, STACK - 0x1000],
  [F.POSTED_INTERRUPT_NOTIFICATION_VECTOR, 8], [F.GUEST_INTERRUPT_STATUS, 0x3145],
];

/** Where a virtualization exception is told of: the exception overwrites the hypervisor's random number. */
const EXCEPTION_AREA = 0x300000;

/** One in ten has what else looks at memory of the hypervisor's: #VE, the log of modified pages, lists of EPT pointers, shadow VMCSs. */
const MEMORY: Fields = [
  [F.SECONDARY_CONTROLS, 0xa2 | C.SECONDARY_VIRTUALIZATION_EXCEPTION | C.SECONDARY_PML | C.SECONDARY_VM_FUNCTIONS | C.SECONDARY_SHADOWING | C.SECONDARY_MODE_BASED_EXECUTE],
  [F.VIRTUALIZATION_EXCEPTION_ADDRESS, EXCEPTION_AREA], [F.EPT_POINTER, EPT | 0x5e], [F.PML_ADDRESS, BODY], [F.PML_INDEX, 511], [F.VM_FUNCTION_CONTROLS, 1],
  [F.EPTP_LIST_ADDRESS, BODY], [F.VMREAD_BITMAP_ADDRESS, EPT], [F.VMWRITE_BITMAP_ADDRESS, VMCS_REGION],
];

/** The image: the noise of `hostileImage`, under a hypervisor. Entered in flat 32-bit protected mode. */
export function hostileHypervisor(seed: number): Uint8Array {
  const random = randomSource(seed);
  const a = hypervisorCode();
  const fields = [...VALID, ...OVERLAPS, ...(seed % 2 === 0 ? APIC : seed % 5 === 0 ? MEMORY : [])];
  // Noise in the host state soon ends the hypervisor: one in four only has it.
  const spoiled = seed % 4 === 0 ? FIELDS : FIELDS.filter(({ kind }) => kind !== 'host');
  prepare(a, seed % 3 === 0 ? EPT_ALL : EPT_NO_WRITES);
  a.emit('MOV', r.eax, random() | 1).emit('MOV', absolute(RANDOM), r.eax);
  a.label('repair');
  fill(a, fields.length, 'turn');
  turn(a, spoiled.length);
  a.align(8).label('fields').words(4, ...spoiled.map(({ encoding }) => BigInt(encoding)));
  data(a, fields);
  return finish(a, hostileImage(seed), 'turn');
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
  startOver(a);
  a.label('spoil');
  for (let i = 0; i < SPOILED; i++) spoil(a, i, fields);
  a.emit('MOV', r.ecx, F.GUEST_RIP);
  next(a);
  a.emit('AND', r.eax, 0xffff).emit('ADD', r.eax, BODY).emit('VMWRITE', r.ecx, r.eax);
  a.emit('VMRESUME').emit('VMLAUNCH').emit('JMP', 'turn');
}

/** With the look-aside tables emptied, and sometimes the VMCS cleared. */
function startOver(a: Assembler): void {
  a.emit('TEST', r.eax, 0x10).emit('JZ', 'kept').emit('VMCLEAR', at('vmcsPointer')).label('kept');
  a.emit('MOV', dword(absolute(EXCEPTION_AREA + 4)), 0).emit('MOV', r.ecx, 2).emit('INVEPT', r.ecx, at('vmcsPointer')).emit('INVVPID', r.ecx, at('vmcsPointer')).emit('JMP', 'repair');
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
