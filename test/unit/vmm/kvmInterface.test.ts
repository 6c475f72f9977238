/** What guests that see KVM get: its leaves, a clock in memory, the end of interrupts without an exit. */
import { describe, expect, it } from 'vitest';
import { asm, image, runToEnd, smallMachine } from '../../helpers/small-guest.ts';

const WORD = 0x9000;
const VECTOR = 0x40;
const ISR_WORD = 0xfee00100 + (VECTOR >> 5) * 16;
const exits = (value: number) => ({ reason: 'debug-exit', value });
const ended = async (code: readonly number[], handlers: Readonly<Record<number, readonly number[]>> = {}, kvm: 'off' | 'on' = 'on') =>
  runToEnd(await smallMachine(image([...asm.lidt, ...code], handlers), { kvm, clock: 'instructions' }));
const wrmsr = (msr: number, value: number): number[] => [...asm.ecx(msr), ...asm.eax(value), ...asm.edx(0), ...asm.wrmsr];
const sendSelf = (vector: number): number[] => asm.store(0xfee00300, 0x44000 | vector);

describe('the hypervisor\'s leaves of CPUID', () => {
  const leaf = (number: number, register: 1 | 3): number[] => [...asm.eax(number), ...asm.cpuid, ...asm.eaxFrom(register), ...asm.exit];
  it('are KVM\'s where that was asked for', async () => {
    expect(await ended(leaf(0x40000000, 3))).toEqual(exits(Buffer.from('KVMK').readUInt32LE()));
    expect(await ended([...asm.eax(0x40000001), ...asm.cpuid, ...asm.exit])).toEqual(exits(0x100004b));
  });
  it('are our own elsewhere, and KVM\'s registers do not exist', async () => {
    expect(await ended(leaf(0x40000000, 3), {}, 'off')).toEqual(exits(Buffer.from('Vand').readUInt32LE()));
    expect(await ended([...wrmsr(0x4b564d01, WORD | 1), ...asm.eax(1), ...asm.exit], { 13: [...asm.eax(13), ...asm.exit] }, 'off')).toEqual(exits(13));
  });
});

describe('the clock', () => {
  it('says how a time-stamp count becomes a time: an even version, half a nanosecond a tick, the same on all processors', async () => {
    const read = async (offset: number): Promise<unknown> => ended([...wrmsr(0x4b564d01, WORD | 1), ...asm.loadEax(WORD + offset), ...asm.exit]);
    expect(await read(0)).toEqual(exits(2));
    expect(await read(24)).toEqual(exits(0x80000000));
    expect(await read(28)).toEqual(exits(0x100));
  });
  it('is written anew when the time-stamp counter is set', async () => {
    expect(await ended([...wrmsr(0x4b564d01, WORD | 1), ...wrmsr(0x10, 0), ...asm.loadEax(WORD), ...asm.exit])).toEqual(exits(4));
  });
  it('touches nothing while it is off, or where no memory is', async () => {
    expect(await ended([...wrmsr(0x4b564d01, WORD), ...asm.loadEax(WORD), ...asm.exit])).toEqual(exits(0));
    expect(await ended([...wrmsr(0x4b564d01, 0xfffffff1), ...asm.eax(3), ...asm.exit])).toEqual(exits(3));
  });
  it('has the date of virtual time 0', async () => {
    expect(await ended([...wrmsr(0x4b564d00, WORD), ...asm.loadEax(WORD + 4), ...asm.exit])).toEqual(exits(Date.UTC(2026, 0, 1) / 1000));
  });
});

describe('the end of an interrupt in memory', () => {
  const enable = [...asm.out8(0x21, 0xff), ...asm.store(0xfee000f0, 0x1ff), ...wrmsr(0x4b564d04, WORD | 1), ...asm.sti];
  const interrupted = (handler: readonly number[]) => ended([...enable, ...sendSelf(VECTOR), ...asm.spin], { [VECTOR]: handler });
  it('is offered with the interrupt', async () => {
    expect(await interrupted([...asm.loadEax(WORD), ...asm.exit])).toEqual(exits(1));
  });
  it('clears the in-service bit when the guest takes it', async () => {
    expect(await interrupted([...asm.store(WORD, 0), ...asm.loadEax(ISR_WORD), ...asm.exit])).toEqual(exits(0));
    expect(await interrupted([...asm.loadEax(ISR_WORD), ...asm.exit])).toEqual(exits(1));
  });
  it('is withdrawn when another interrupt comes, which needs the real one', async () => {
    expect(await interrupted([...sendSelf(VECTOR - 16), ...asm.loadEax(WORD), ...asm.exit])).toEqual(exits(0));
  });
  it('refuses a reserved bit', async () => {
    expect(await ended([...wrmsr(0x4b564d04, WORD | 3), ...asm.eax(1), ...asm.exit], { 13: [...asm.eax(13), ...asm.exit] })).toEqual(exits(13));
  });
});

describe('VMCALL', () => {
  const vmcall = [0x0f, 0x01, 0xc1];
  const call = async (number: number, kvm: 'off' | 'on'): Promise<unknown> =>
    runToEnd(await smallMachine(image([...asm.lidt, ...asm.eax(number), ...vmcall, ...asm.exit], { 6: [...asm.eax(6), ...asm.exit] }), { kvm, cpuModel: 'max' }));
  it('is answered where the guest sees KVM: unknown but for the call that polls for interrupts', async () => {
    expect([await call(1, 'on'), await call(77, 'on')]).toEqual([exits(0), exits(-1000 >>> 0)]);
  });
  it('is undefined elsewhere, as without a hypervisor', async () => {
    expect(await call(1, 'off')).toEqual(exits(6));
  });
});
