/** Runs hostile guests and says how each ended. */
import { createMachine } from '../../core/machine/create.ts';
import type { MachineConfig } from '../../core/machine/types.ts';
import { hostileImage } from './guest.ts';
import { hostileHypervisor } from './hypervisor.ts';

export interface HostileRun {
  readonly seed: number;
  readonly jit: MachineConfig['jit'];
  readonly model: string;
  /** Instructions after which the guest is stopped. */
  readonly instructions: number;
  /** Host time after which it is stopped, whatever it did: a repeated string instruction counts as one and may go on for hours. */
  readonly milliseconds: number;
  /** A hypervisor with a guest that executes the noise. */
  readonly nested?: boolean;
}

/** How a hostile guest ended: `ran` to its bound, `halted` for good, or the reason of its stop. Throws only when the machine is at fault. */
export async function runHostile(run: HostileRun): Promise<string> {
  const machine = await createMachine({
    memoryBytes: 16 << 20, cpus: 1, cpuModel: run.model, jit: run.jit, clock: 'instructions',
    boot: { kind: 'image', kernel: run.nested ? hostileHypervisor(run.seed) : hostileImage(run.seed), append: '', modules: [] },
  }, { serialOutput: () => {} });
  const end = performance.now() + run.milliseconds;
  while (machine.statistics().instructions < run.instructions && performance.now() < end) {
    const result = machine.runSlice();
    if (result.kind === 'halted') return 'halted';
    if (result.kind === 'stopped') {
      machine.describe();
      return result.exit.reason;
    }
  }
  machine.describe();
  return 'ran';
}

export const TIERS: readonly MachineConfig['jit'][] = ['off', 'on', 'always'];
export const MODELS: readonly string[] = ['max', 'x86-64-v2', 'i686'];
