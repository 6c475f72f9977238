import { describe, expect, it } from 'vitest';
import { findModel } from '../../../core/cpu/models.ts';
import { Processor } from '../../../core/cpu/processor.ts';
import { EXIT_GPA, EXIT_LINEAR, EXIT_QUALIFICATION, EXIT_REASON } from '../../../core/cpu/layout.ts';
import { readHelpers } from '../../../core/machine/helperFile.ts';
import { Pc } from '../../../core/machine/pc.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { Vmm } from '../../../core/vmm/vmm.ts';
import { ManualTime } from '../../doubles/manualTime.ts';
import { asm, image } from '../../helpers/small-guest.ts';
import { flatTopology } from '../../../core/platform/topology.ts';

interface Exit {
  readonly reason: number;
  readonly qualification: number;
  readonly gpa: number;
  readonly linear: number;
}

/** Runs code in root mode's hands; what the exit fields held when a device was asked. */
async function exitsOf(code: readonly number[]): Promise<Exit[]> {
  const helperBytes = readHelpers();
  const model = findModel('x86-64-v2')!;
  const seen: Exit[] = [];
  let root: Vmm | null = null;
  const note = (): void => {
    const word = (offset: number): number => Number(cpu.view.getBigUint64(offset, true));
    seen.push({ reason: cpu.view.getUint32(EXIT_REASON, true), qualification: word(EXIT_QUALIFICATION), gpa: word(EXIT_GPA), linear: word(EXIT_LINEAR) });
  };
  /** Root mode fills the fields; the processor's host is where a test can look. */
  const noted = <T>(result: T): T => {
    note();
    return result;
  };
  const cpu: Processor = new Processor({
    helpers: await WebAssembly.compile(helperBytes), helperBytes, ramBytes: 16 << 20,
    host: {
      mmioRead: (low, high, size) => noted(root!.mmioRead(low, high, size)), mmioReadHigh: () => root!.mmioReadHigh(),
      mmioWrite: (low, high, size, valueLow, valueHigh) => noted(root!.mmioWrite(low, high, size, valueLow, valueHigh)),
      portRead: (port, size) => noted(root!.portRead(port, size)), portWrite: (port, size, value) => noted(root!.portWrite(port, size, value)),
      timestamp: () => 0, random: () => 0,
    },
  });
  cpu.setLimits({ cr4: 0n, efer: 0n, xcr0: 3n, physicalAddressBits: 40 });
  const pc = new Pc({
    memory: cpu.ram, topology: flatTopology(1), clock: new VirtualClock(new ManualTime()), physicalAddressBits: 40, wallMs: 0, keyboard: false, serialOutput: () => {},
  });
  root = new Vmm(cpu, pc, model, flatTopology(1));
  root.reset(pc.boot({ kernel: image([...code, ...asm.exit]), append: '', modules: [] }));
  for (let i = 0; i < 50 && root.runSlice().kind === 'ran'; i++) { /* until the exit port */ }
  return seen;
}

describe('the fields of an exit', () => {
  it('of a read from a device: reason 48, a read, both addresses', async () => {
    expect(await exitsOf(asm.loadEax(0xfee00030))).toEqual([{ reason: 48, qualification: 0x181, gpa: 0xfee00030, linear: 0xfee00030 }]);
  });
  it('of a write to a device: reason 48, a write, both addresses', async () => {
    expect(await exitsOf(asm.store(0xfed00010, 0))).toEqual([{ reason: 48, qualification: 0x182, gpa: 0xfed00010, linear: 0xfed00010 }]);
  });
  it('of an address where nothing is, likewise', async () => {
    expect(await exitsOf(asm.loadEax(0xd0000004))).toMatchObject([{ reason: 48, qualification: 0x181, gpa: 0xd0000004 }]);
  });
  it('of a read-modify-write: a read, then a write', async () => {
    expect((await exitsOf(asm.incMemory(0xfed000f0))).map(({ qualification }) => qualification)).toEqual([0x181, 0x182]);
  });
  it.each([
    ['in', [0x66, 0xba, 0x71, 0x00, 0xbf, 0x00, 0x00, 0x20, 0x00, 0x6c], 0x00710018],
    ['out', [0x66, 0xba, 0x80, 0x00, 0xbe, 0x00, 0x00, 0x20, 0x00, 0x66, 0x6f], 0x00800011],
  ])('of string I/O (%s): the size, the direction, string, the port', async (_what, code, qualification) => {
    expect(await exitsOf(code)).toMatchObject([{ reason: 30, qualification }]);
  });
});
