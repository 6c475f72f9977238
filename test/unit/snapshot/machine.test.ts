import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createMachine } from '../../../core/machine/create.ts';
import type { Machine, MachineConfig, MachineExit, RestorePoint } from '../../../core/machine/types.ts';
import type { PreserveRing } from '../../../core/snapshot/preserve.ts';
import { asm, image } from '../../helpers/small-guest.ts';
import { FolderLibrary, Taker } from '../../helpers/snapshots.ts';

const MEMORY = 16 << 20;
const le32 = (value: number): number[] => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
const TIMES = 0x1ff000;
const TICKS = 0x1ff004;

/** Starts another processor, which from then on counts at 9000H: lock inc word [9000h]; pause; jmp. */
const startOther = (apic: number): number[] => [
  ...[0xf0, 0xff, 0x06, 0x00, 0x90, 0xf3, 0x90, 0xeb, 0xf7].flatMap((byte, index) => [0xc6, 0x05, ...le32(0x8000 + index), byte]),
  ...[0x4500, 0x4608].flatMap(command => [...asm.store(0xfee00310, apic << 24), ...asm.store(0xfee00300, command)]),
];

/** Adds a sequence of numbers to words scattered over 8 MiB while a timer of 1 kHz interrupts it, and then ends. */
const program = (rounds: number, cpus = 1): Uint8Array => image([
  ...Array.from({ length: cpus - 1 }, (_, index) => startOther(index + 1)).flat(), ...asm.lidt, ...asm.out8(0x43, 0x34), ...asm.out8(0x40, 0xa9), ...asm.out8(0x40, 0x04), ...asm.out8(0x21, 0xfe), ...asm.sti, ...asm.ecx(rounds), ...asm.ebx(1),
  0x69, 0xdb, ...le32(1103515245), // imul ebx, ebx, 1103515245
  0x81, 0xc3, ...le32(12345), // add ebx, 12345
  0x89, 0xda, // mov edx, ebx
  0x81, 0xe2, ...le32(0x7ffffc), // and edx, 0x7ffffc
  0x01, 0x9a, ...le32(0x200000), // add [edx + 0x200000], ebx
  0x49, 0x75, 0xe3, // dec ecx; jnz
  ...asm.cli, ...asm.eaxFrom(3), ...asm.exit,
], {
  // push eax; push edx; rdtsc; add [TIMES], eax; inc [TICKS]; end of interrupt; pop edx; pop eax; iret
  8: [0x50, 0x52, 0x0f, 0x31, 0x01, 0x05, ...le32(TIMES), 0xff, 0x05, ...le32(TICKS), 0xb0, 0x20, 0xe6, 0x20, 0x5a, 0x58, 0xcf],
});

async function make(kernel: Uint8Array, ring: PreserveRing | null, restore?: RestorePoint, changes: Partial<MachineConfig> = {}): Promise<Machine> {
  const boot = { kind: 'image', kernel, append: '', modules: [] } as const;
  const config = { memoryBytes: MEMORY, cpus: 1, cpuModel: '', jit: 'off', clock: 'instructions', boot, ...changes } as const;
  return createMachine(restore ? { ...config, boot: { kind: 'deferred' }, restore } : config, {
    serialOutput: () => undefined, readBoot: () => boot, ...(ring ? { preserved: ring } : {}),
  });
}

function runOn(machine: Machine): MachineExit {
  for (let i = 0; i < 100_000; i += 1) {
    const result = machine.runSlice();
    if (result.kind === 'stopped') return result.exit;
  }
  throw new Error('the guest did not end');
}

/** Everything of a machine that its guest could see: states and memory. */
function everything(machine: Machine): { readonly state: unknown; readonly memory: string } {
  while (!machine.fillPages(1000));
  const { state, memory } = machine.snapshot();
  const { host: _host, ...guest } = state as Record<string, unknown>;
  return { state: guest, memory: createHash('sha256').update(new Uint8Array(memory.buffer, memory.ram, memory.bytes)).digest('hex') };
}

describe.each([['off', 1], ['always', 1], ['on', 3]] as const)('a machine that goes on from a snapshot, JIT %s, %i processors', (jit, cpus) => {
  it('does bit for bit what the one goes on to do that it was taken of', async () => {
    using library = new FolderLibrary();
    const taker = new Taker(library, MEMORY);
    const kernel = program(1_000_000, cpus);
    const original = await make(kernel, taker.ring, undefined, { jit, cpus });
    for (let i = 0; i < 3; i += 1) original.runSlice();
    // It runs on while its pages are copied.
    library.meanwhile = () => void original.runSlice();
    const taken = await taker.take(original);
    const copy = await make(kernel, null, taken, { jit, cpus });
    const exit = runOn(original);
    expect(exit.reason).toBe('debug-exit');
    expect(runOn(copy)).toEqual(exit);
    const [one, other] = [everything(original), everything(copy)];
    expect(other.state).toEqual(one.state);
    expect(other.memory).toBe(one.memory);
    const { buffer, ram } = original.snapshot().memory;
    expect(new DataView(buffer, ram).getUint32(TICKS, true)).toBeGreaterThan(3); // The timer was in it.
  });
});

describe('a machine that goes back to its own snapshot', () => {
  it('does the same again, and the same as a new one, also from another snapshot', async () => {
    using library = new FolderLibrary();
    const taker = new Taker(library, MEMORY);
    const kernel = program(1_000_000);
    const machine = await make(kernel, taker.ring);
    for (let i = 0; i < 3; i += 1) machine.runSlice();
    const first = await taker.take(machine);
    for (let i = 0; i < 3; i += 1) machine.runSlice();
    const second = await taker.take(machine);
    const exit = runOn(machine);
    const ended = everything(machine);
    // From the end, from a moment at which not all pages were there, and from a later snapshot.
    for (const [point, from] of [[first, second.map], [second, first.map], [first, second.map]] as const) {
      machine.answer('restore', { point, from });
      machine.runSlice();
      machine.answer('restore', { point, from: point.map });
      expect(everything(machine).memory).toBe(everything(await make(kernel, null, point)).memory);
    }
    expect(runOn(machine)).toEqual(exit);
    expect(everything(machine)).toEqual(ended);
  });
});

describe('a snapshot', () => {
  it('holds the memory of its moment although the guest writes while it is copied', async () => {
    using library = new FolderLibrary();
    const taker = new Taker(library, MEMORY);
    const kernel = program(1_000_000);
    const machine = await make(kernel, taker.ring);
    machine.runSlice();
    const before = everything(machine);
    library.meanwhile = () => void machine.runSlice();
    // A second point at the same moment: nothing ran in between.
    const taken = await taker.take(machine);
    expect(everything(machine).memory).not.toBe(before.memory);
    const restored = await make(kernel, null, taken);
    expect(everything(restored).memory).toBe(before.memory);
  });
  it('after another one takes only what was written since', async () => {
    using library = new FolderLibrary();
    const taker = new Taker(library, MEMORY);
    const machine = await make(image([...asm.store(0x300000, 1), ...asm.spin]), taker.ring);
    machine.runSlice();
    expect((await taker.take(machine)).pages).toBe(MEMORY / 4096);
    machine.runSlice();
    const second = await taker.take(machine);
    expect(second.pages).toBe(0);
    expect(second.writtenBytes).toBe(0);
  });
  it('can be taken of a machine whose own pages are not all there yet', async () => {
    using library = new FolderLibrary();
    const taker = new Taker(library, MEMORY);
    const kernel = program(200_000);
    const machine = await make(kernel, taker.ring);
    machine.runSlice();
    const first = await taker.take(machine);
    const again = new Taker(library, MEMORY);
    const restored = await make(kernel, again.ring, first);
    const second = await new RestoredTaker(library, first).take(restored);
    expect(everything(await make(kernel, null, second)).memory).toBe(everything(await make(kernel, null, first)).memory);
  });
  it('survives a reset: the machine boots anew, and the next snapshot has what it did then', async () => {
    using library = new FolderLibrary();
    const taker = new Taker(library, MEMORY);
    const kernel = program(100_000);
    const machine = await make(kernel, taker.ring);
    runOn(machine);
    const ended = everything(machine);
    const restored = await make(kernel, null, await taker.take(machine));
    restored.reset();
    expect(runOn(restored).reason).toBe('debug-exit');
    expect(everything(restored).memory).toBe(ended.memory);
  });
});

describe('a saved state that does not fit', () => {
  const damages: readonly (readonly [string, (state: Record<string, Record<string, unknown>>) => void, RegExp])[] = [
    ['of another version', (state) => void (state['vcpu 0']!['version'] = 99), /vcpu 0: saved state has version 99/],
    ['without a component', (state) => void delete state['pit'], /no state of pit/],
    ['with a register that is no number', (state) => void (state['vcpu 0']!['rip'] = 'here'), /vcpu 0\.rip/],
    ['with CR4 bits that the model does not have', (state) => void (state['vcpu 0']!['cr4'] = (1n << 40n).toString()), /vcpu 0\.cr4/],
    ['with paging outside protected mode', (state) => void (state['vcpu 0']!['cr0'] = (1n << 31n).toString()), /vcpu 0\.cr0/],
    ['with long mode half on', (state) => void (state['vcpu 0']!['efer'] = '1024'), /vcpu 0\.efer/],
    ['with reserved flags', (state) => void (state['vcpu 0']!['rflags'] = (1n << 30n).toString()), /vcpu 0\.rflags/],
    ['with a register of root mode out of range', (state) => void (state['msrs 0']!['IA32_SPEC_CTRL'] = [0xff00, 0]), /IA32_SPEC_CTRL/],
  ];
  it.each(damages)('%s is refused with the name of what is wrong', async (_what, damage, message) => {
    using library = new FolderLibrary();
    const kernel = program(1000);
    const taken = await new Taker(library, MEMORY).take(await make(kernel, null));
    const state = structuredClone(taken.state) as Record<string, Record<string, unknown>>;
    damage(state);
    await expect(make(kernel, null, { ...taken, state })).rejects.toThrow(message);
  });
  it('of another size of memory is refused', async () => {
    using library = new FolderLibrary();
    const kernel = program(1000);
    const taken = await new Taker(library, MEMORY).take(await make(kernel, null));
    await expect(make(kernel, null, taken, { memoryBytes: MEMORY * 2 })).rejects.toThrow(/is for 4096 pages, and there are 8192/);
  });
});

/** A taker that knows, as a VM process does, from which snapshot its machine was restored. */
class RestoredTaker extends Taker {
  constructor(library: FolderLibrary, from: RestorePoint) {
    super(library, MEMORY, undefined, from.map);
  }
}
