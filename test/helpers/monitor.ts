/** Drives a machine that runs the built-in monitor, as a person at its console would. */
import { createMachine } from '../../core/machine/create.ts';
import type { Machine, MachineConfig, MachineExit } from '../../core/machine/types.ts';

export const PROMPT = 'monitor> ';

/** Longest wait for anything, in slices of a millisecond. */
const PATIENCE = 40_000;

export interface MonitorSession {
  readonly machine: Machine;
  /** Set when the machine has stopped. */
  readonly exit: MachineExit | null;
  /** Everything printed so far. */
  readonly output: string;
  /** Types text; a line ends with \r. Returns what the machine prints from then on, up to and with `expected`. */
  type(text: string, expected?: string): string;
  /** Runs a command to the next prompt; returns what it printed, without echo and prompt. */
  command(line: string): string;
  /** Runs a while longer, or to the machine's end. */
  settle(): void;
}

/** Starts a machine and waits for the monitor's prompt. Time is that of the instructions unless `changes` say otherwise. */
export async function startMonitor(changes: Partial<MachineConfig> = {}): Promise<MonitorSession> {
  let output = '';
  let exit: MachineExit | null = null;
  const config: MachineConfig = { memoryBytes: 32 << 20, cpus: 1, cpuModel: '', boot: { kind: 'monitor' }, jit: 'off', clock: 'instructions', ...changes };
  const machine = await createMachine(config, {
    serialOutput: (port, bytes) => {
      if (port === 0) output += Buffer.from(bytes).toString('latin1');
    },
  });
  let pending: Uint8Array = new Uint8Array(0);
  /** One slice; false when nothing will happen any more. A masked timer may tick for ever: the patience of the callers bounds that. */
  const step = (): boolean => {
    if (exit) return false;
    if (pending.length > 0) pending = pending.subarray(machine.serialInput(0, pending));
    const result = machine.runSlice();
    if (result.kind === 'stopped') exit = result.exit;
    return result.kind === 'ran' || (result.kind === 'halted' && (result.wakeInNs !== null || pending.length > 0));
  };
  const until = (from: number, expected: string): string => {
    for (let i = 0; i < PATIENCE; i++) {
      const at = output.indexOf(expected, from);
      if (at >= 0) return output.slice(from, at + expected.length);
      if (!step() && output.indexOf(expected, from) < 0) break;
    }
    const found = output.indexOf(expected, from);
    if (found >= 0) return output.slice(from, found + expected.length);
    throw new Error(`the monitor did not print '${expected}', but: ${output.slice(from)}`);
  };
  const type = (text: string, expected = PROMPT): string => {
    const from = output.length;
    pending = Buffer.concat([pending, Buffer.from(text, 'latin1')]);
    return until(from, expected);
  };
  until(0, PROMPT);
  return {
    machine,
    get exit() { return exit; },
    get output() { return output; },
    type,
    command: line => type(`${line}\r`).slice(line.length + 2, -PROMPT.length),
    settle: () => { for (let i = 0; i < 100 && step(); i++); },
  };
}
