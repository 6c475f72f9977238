/** `monitor` at GDB's prompt: what GDB has no command for. */
import type { Processor } from '../cpu/processor.ts';
import { forVcpu } from '../contract/forVcpu.ts';
import type { InspectQuery } from '../contract/inspect.ts';
import { inspect } from '../inspect/inspect.ts';
import type { InspectedBoard } from '../inspect/inspect.ts';
import { sectionText } from '../inspect/text.ts';
import { readMsr, writeMsr } from './registers.ts';
import type { Architecture } from './registers.ts';

export interface MonitorContext {
  readonly cpu: Processor;
  readonly board: InspectedBoard;
  physical(on: boolean): void;
  choose(architecture: Architecture | null): void;
}

interface CommandRow {
  readonly usage: string;
  readonly what: string;
  /** Null: the arguments are wrong. */
  run(context: MonitorContext, argument: string): string | null;
}

const ask = (query: InspectQuery) => ({ cpu, board }: MonitorContext): string => inspect(cpu, board, forVcpu(query, cpu.vcpu)).map(sectionText).join('\n\n');

const ROWS: Readonly<Record<string, CommandRow>> = {
  registers: { usage: 'registers', what: 'every register, control registers by bit', run: ask({ what: 'registers' }) },
  walk: {
    usage: 'walk ADDRESS', what: 'how a linear address is translated',
    run: (context, argument) => (/^(0x)?[0-9a-f]{1,16}$/i.test(argument) ? ask({ what: 'walk', address: `0x${argument.toLowerCase().replace(/^0x/, '')}` })(context) : null),
  },
  msr: {
    usage: 'msr INDEX [VALUE]', what: 'reads an MSR, or writes it as WRMSR would',
    run: ({ cpu }, argument) => {
      const [, index, value] = /^(?:0x)?([0-9a-f]{1,8})(?:\s+(?:0x)?([0-9a-f]{1,16}))?$/i.exec(argument) ?? [];
      if (index === undefined) return null;
      const number = Number.parseInt(index, 16);
      if (value !== undefined && !writeMsr(cpu, number, BigInt(`0x${value}`))) return `MSR ${hex(number)} does not exist, or cannot hold the value.`;
      const now = readMsr(cpu, number);
      return now === null ? `There is no MSR ${hex(number)}.` : `MSR ${hex(number)} is ${hex(now)}`;
    },
  },
  tlb: { usage: 'tlb', what: "the processor's cached translations", run: ask({ what: 'tlb' }) },
  vmcs: { usage: 'vmcs', what: "the VMCS of the guest's own hypervisor", run: ask({ what: 'vmcs' }) },
  root: { usage: 'root', what: "root mode's EPT and bitmaps", run: ask({ what: 'root', address: null }) },
  interrupts: { usage: 'interrupts', what: 'local APIC, I/O APIC and 8259A', run: ask({ what: 'interrupts' }) },
  map: { usage: 'map', what: 'memory map and ports', run: ask({ what: 'map' }) },
  physical: {
    usage: 'physical on|off', what: 'memory commands take guest-physical addresses',
    run: ({ physical }, argument) => {
      if (argument !== 'on' && argument !== 'off') return null;
      physical(argument === 'on');
      return `Addresses are ${argument === 'on' ? 'guest-physical' : 'linear'} now.`;
    },
  },
  registerset: {
    usage: 'registerset amd64|i386|auto', what: 'the registers that GDB is told of when it connects the next time',
    run: ({ choose }, argument) => {
      if (argument !== 'amd64' && argument !== 'i386' && argument !== 'auto') return null;
      choose(argument === 'auto' ? null : argument);
      return `Connect again for the registers of ${argument}.`;
    },
  },
};

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

export function monitorCommand(text: string, context: MonitorContext): string {
  const [name = '', ...words] = text.split(/\s+/);
  const row = Object.hasOwn(ROWS, name) ? ROWS[name] : undefined;
  if (!row) return ['Commands:', ...Object.values(ROWS).map(({ usage, what }) => `  monitor ${usage.padEnd(30)} ${what}`)].join('\n');
  try {
    return row.run(context, words.join(' ')) ?? `Usage: monitor ${row.usage}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
