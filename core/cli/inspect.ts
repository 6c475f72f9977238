/** `vanderpool inspect`: the state of a machine, as tables. */
import type { Client } from '../contract/client.ts';
import { forVcpu } from '../contract/forVcpu.ts';
import { INSPECT_BYTES, INSPECT_INSTRUCTIONS } from '../contract/inspect.ts';
import type { InspectQuery, InspectSection } from '../contract/inspect.ts';
import { show } from './output.ts';
import { sectionText } from '../inspect/text.ts';
import { wholeNumber } from './machine-options.ts';
import { withEngine } from './session.ts';
import type { CommonOptions } from './session.ts';
import { badArgument } from './status.ts';

export interface InspectOptions extends CommonOptions {
  readonly registers?: boolean;
  readonly vectors?: boolean;
  readonly walk?: string;
  readonly tlb?: boolean;
  readonly vmcs?: boolean;
  readonly root?: boolean | string;
  readonly interrupts?: boolean;
  readonly map?: boolean;
  readonly code?: boolean | string;
  readonly memory?: string;
  readonly physical?: string;
  readonly vcpu?: string;
  readonly count: string;
}

/** Each option asks one question; without any, the registers and the code around RIP are shown. */
export async function inspectVm(reference: string, options: InspectOptions): Promise<void> {
  const vcpu = options.vcpu === undefined ? 0 : wholeNumber('--vcpu', options.vcpu);
  const queries = queriesOf(options).map((query) => forVcpu(query, vcpu));
  await showAnswers(reference, queries, options);
}

/** Asks, and prints the tables. */
export async function showAnswers(reference: string, queries: readonly InspectQuery[], options: CommonOptions): Promise<void> {
  const sections = await withEngine(options, (client) => askAll(client, reference, queries));
  show(options.json === true ? sections.map(toObjects) : sections, options.json === true, () => sections.map(sectionText).join('\n\n'));
}

async function askAll(client: Client, reference: string, queries: readonly InspectQuery[]): Promise<InspectSection[]> {
  const sections: InspectSection[] = [];
  for (const query of queries) sections.push(...(await client.call('vm.inspect', { vm: reference, query })).sections);
  return sections;
}

function queriesOf(options: InspectOptions): InspectQuery[] {
  const { count } = options;
  const queries: InspectQuery[] = [];
  if (options.registers === true) queries.push({ what: 'registers' });
  if (options.vectors === true) queries.push({ what: 'vectors' });
  if (options.walk !== undefined) queries.push({ what: 'walk', address: addressOf('--walk', options.walk) });
  if (options.tlb === true) queries.push({ what: 'tlb' });
  if (options.vmcs === true) queries.push({ what: 'vmcs' });
  if (options.root !== undefined) queries.push({ what: 'root', address: typeof options.root === 'string' ? addressOf('--root', options.root) : null });
  if (options.interrupts === true) queries.push({ what: 'interrupts' });
  if (options.map === true) queries.push({ what: 'map' });
  if (options.code !== undefined) queries.push({ what: 'code', address: typeof options.code === 'string' ? addressOf('--code', options.code) : null, count: countOf(count, 16, INSPECT_INSTRUCTIONS) });
  if (options.memory !== undefined) queries.push({ what: 'memory', space: 'virtual', address: addressOf('--memory', options.memory), length: countOf(count, 256, INSPECT_BYTES) });
  if (options.physical !== undefined) queries.push({ what: 'memory', space: 'physical', address: addressOf('--physical', options.physical), length: countOf(count, 256, INSPECT_BYTES) });
  return queries.length > 0 ? queries : [{ what: 'registers' }, { what: 'code', address: null, count: countOf(count, 16, INSPECT_INSTRUCTIONS) }];
}

/** Hexadecimal, with or without 0x. */
export function addressOf(option: string, text: string): string {
  const digits = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(text.replaceAll('_', ''))?.[1];
  if (digits === undefined) throw badArgument(`${option}: "${text}" is no address.`, 'Write it in hexadecimal, such as 0xffffffff81000000.');
  return `0x${digits.toLowerCase()}`;
}

function countOf(text: string, usual: number, most: number): number {
  if (text === '') return usual;
  const count = wholeNumber('--count', text);
  if (count < 1 || count > most) throw badArgument(`--count: ${count} is outside 1 to ${most}.`);
  return count;
}

/** Rows as objects, for programs. */
function toObjects({ title, columns, rows, note }: InspectSection): object {
  return { title, note, rows: rows.map((row) => Object.fromEntries(columns.map((column, i) => [column === '' ? 'current' : column, row[i] ?? '']))) };
}
