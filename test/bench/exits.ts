/** What a VM exit costs: to root mode, and from a nested guest to its hypervisor and back. */
import { absolute, dword, register as r } from '../../core/isa/registers.ts';
import * as F from '../../core/vmx/fields.ts';
import { hypervisorImage } from '../helpers/hypervisor.ts';
import { asm, image, smallMachine } from '../helpers/small-guest.ts';
import { printTable } from './table.ts';

const ROUNDS = 500_000;
const RUNS = 3;
const COUNTER = 0x500000;
const LOCAL_APIC_ID = 0xfee00020;
const LOCAL_APIC_EOI = 0xfee000b0;
const LOCAL_APIC_COMMAND = 0xfee00300;
const VECTOR = 0x40;
const TO_SELF = 0x40000;

/** `body` in a loop of ROUNDS, counted by ESI. */
function loop(body: readonly number[], before: readonly number[] = [], handlers: Readonly<Record<number, readonly number[]>> = {}): Uint8Array {
  const rounds = new Uint8Array(new Uint32Array([ROUNDS]).buffer);
  return image([...before, 0xbe, ...rounds, ...body, 0x4e, 0x75, 256 - body.length - 3, ...asm.eax(1), ...asm.exit, ...asm.spin], handlers);
}

/** HLT with an interrupt on its way, which wakes the guest: the halt, the wake-up, the interrupt and its end. */
function halting(): Uint8Array {
  const body = [...asm.cli, ...asm.store(LOCAL_APIC_COMMAND, TO_SELF | VECTOR), ...asm.sti, ...asm.hlt];
  return loop(body, [...asm.lidt, ...asm.out8(0x21, 0xff)], { [VECTOR]: [...asm.store(LOCAL_APIC_EOI, 0), ...asm.iret] });
}

/** A guest that executes CPUID for ever; its hypervisor moves RIP behind it and enters again. */
function nested(): Uint8Array {
  return hypervisorImage(
    a => { a.label('loop').emit('CPUID').emit('JMP', 'loop'); },
    a => {
      a.emit('INC', dword(absolute(COUNTER))).emit('CMP', dword(absolute(COUNTER)), ROUNDS).emit('JE', 'done');
      a.emit('MOV', r.ecx, F.GUEST_RIP).emit('VMREAD', r.eax, r.ecx).emit('ADD', r.eax, 2).emit('VMWRITE', r.ecx, r.eax).emit('VMRESUME');
      a.label('done').emit('MOV', r.eax, 1).emit('OUT', 0xf4, r.eax).emit('HLT');
    },
  );
}

const CASES: readonly (readonly [name: string, image: Uint8Array])[] = [
  ['CPUID to root mode', loop(asm.cpuid)], ['OUT to an empty port', loop([0xe6, 0x80])], ['a read of the local APIC', loop(asm.loadEax(LOCAL_APIC_ID))],
  ['HLT, woken by an interrupt to itself', halting()], ['CPUID of L2 to L1 and back', nested()],
];

/** Processor time of a round in nanoseconds, and its instructions. */
async function measure(kernel: Uint8Array): Promise<{ readonly nanoseconds: number; readonly instructions: number }> {
  const { machine } = await smallMachine(kernel, { cpuModel: 'max', jit: 'on' });
  const before = process.cpuUsage();
  while (machine.runSlice().kind === 'ran');
  const { user, system } = process.cpuUsage(before);
  return { nanoseconds: ((user + system) * 1000) / ROUNDS, instructions: machine.statistics().instructions / ROUNDS };
}

/** `npm run bench -- exits`. */
export async function exits(): Promise<void> {
  const rows: string[][] = [];
  for (const [name, kernel] of CASES) {
    const samples = [];
    for (let run = 0; run < RUNS; run++) samples.push(await measure(kernel));
    const best = samples.reduce((least, sample) => (sample.nanoseconds < least.nanoseconds ? sample : least));
    rows.push([name, best.nanoseconds.toFixed(0), best.instructions.toFixed(0)]);
  }
  printTable(['exit', 'ns', 'instructions'], rows);
}
