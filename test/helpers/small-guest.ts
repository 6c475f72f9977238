/** Guests of a few instructions: 32-bit code in a flat multiboot image, with an interrupt table of its own, and a machine to run them on. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createMachine } from '../../core/machine/create.ts';
import { readHelpers } from '../../core/machine/helperFile.ts';
import type { Machine, MachineConfig, MachineExit } from '../../core/machine/types.ts';
import { multibootFlat } from '../doubles/images.ts';

/** Where the code lies, and where its handlers and its interrupt table do. */
export const CODE = 0x100020;
const HANDLERS = 0x200;
const HANDLER_STEP = 0x100;
const TABLE = 0x1000;

const le32 = (value: number): number[] => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];

/** Instructions by hand; 32-bit operands. */
export const asm = {
  eax: (value: number) => [0xb8, ...le32(value)],
  ecx: (value: number) => [0xb9, ...le32(value)],
  edx: (value: number) => [0xba, ...le32(value)],
  ebx: (value: number) => [0xbb, ...le32(value)],
  /** mov eax, reg: 1 = ECX, 2 = EDX, 3 = EBX. */
  eaxFrom: (register: 1 | 2 | 3) => [0x89, 0xc0 | (register << 3)],
  store: (address: number, value: number) => [0xc7, 0x05, ...le32(address), ...le32(value)],
  loadEax: (address: number) => [0xa1, ...le32(address)],
  incMemory: (address: number) => [0xff, 0x05, ...le32(address)],
  compareEax: (value: number) => [0x3d, ...le32(value)],
  /** je over `code`, which runs when they differ. */
  unlessEqual: (code: readonly number[]) => [0x0f, 0x84, ...le32(code.length), ...code],
  out8: (port: number, value: number) => [0x66, 0xba, port & 0xff, port >> 8, 0xb0, value, 0xee],
  /** EAX to the debug-exit port. */
  exit: [0xe7, 0xf4],
  spin: [0xeb, 0xfe],
  hlt: [0xf4], cli: [0xfa], sti: [0xfb], iret: [0xcf], ud2: [0x0f, 0x0b], cpuid: [0x0f, 0xa2], rdtsc: [0x0f, 0x31], rdmsr: [0x0f, 0x32], wrmsr: [0x0f, 0x30],
  /** Sets TF: the instruction after this one is trapped. */
  trap: [0x9c, 0x81, 0x0c, 0x24, ...le32(0x100), 0x9d],
  /** Loads the table that `image` builds from handlers. */
  lidt: [0x0f, 0x01, 0x1d, ...le32(CODE + TABLE + 0x800)],
} as const;

/** A flat image of `code`; `handlers` are code too, by vector. */
export function image(code: readonly number[], handlers: Readonly<Record<number, readonly number[]>> = {}): Uint8Array {
  const bytes = new Uint8Array(TABLE + 0x900);
  const view = new DataView(bytes.buffer);
  if (code.length > HANDLERS) throw new Error('the code is too long');
  bytes.set(code);
  Object.entries(handlers).forEach(([vector, handler], index) => {
    const at = HANDLERS + index * HANDLER_STEP;
    bytes.set(handler, at);
    const gate = TABLE + Number(vector) * 8;
    view.setUint16(gate, (CODE + at) & 0xffff, true);
    view.setUint16(gate + 2, 0x10, true);
    view.setUint16(gate + 4, 0x8e00, true);
    view.setUint16(gate + 6, (CODE + at) >>> 16, true);
  });
  view.setUint16(TABLE + 0x800, 0x7ff, true);
  view.setUint32(TABLE + 0x802, CODE + TABLE, true);
  return multibootFlat(0x100000, bytes, 0);
}

export interface SmallMachine {
  readonly machine: Machine;
  /** What it sent to COM1. */
  output(): string;
}

/** A machine of 16 MiB that runs an image. */
export async function smallMachine(kernel: Uint8Array, changes: Partial<MachineConfig> = {}): Promise<SmallMachine> {
  let text = '';
  // Says so, where the error is plain, when the helpers are not built.
  readHelpers();
  const machine = await createMachine({
    memoryBytes: 16 << 20, cpus: 1, cpuModel: '', jit: 'off', clock: 'wall', boot: { kind: 'image', kernel, append: '', modules: [] }, ...changes,
  }, { serialOutput: (_port, bytes) => void (text += Buffer.from(bytes).toString('latin1')) });
  return { machine, output: () => text };
}

/** Runs to the end, at most so many slices; null when it is still running. */
export async function runToEnd({ machine }: SmallMachine, slices = 2000): Promise<MachineExit | null> {
  for (let i = 0; i < slices; i++) {
    const result = machine.runSlice();
    if (result.kind === 'stopped') return result.exit;
    if (result.kind === 'halted') await sleep(Math.min(5, (result.wakeInNs ?? 1e9) / 1e6));
  }
  return null;
}
