/** Whose a page of a Linux guest's memory is, by its kernel's symbols: System.map, or /proc/kallsyms of the guest itself. */
import { readFileSync, statSync } from 'node:fs';
import { ContractError } from '../contract/errors.ts';
import { unreadableBecause } from '../host/reasons.ts';
import { areaOwners } from './kernelAreas.ts';
import { LinuxMemory } from './linuxMemory.ts';
import type { AddressOf } from './linuxMemory.ts';
import { pageOwners } from './linuxPages.ts';
import { processOwners } from './processOwners.ts';

/** The owner of a guest-physical page; null: none that is known. */
export type OwnerOf = (page: number) => string | null;

const FILE_MAXIMUM = 64 << 20;
const LINE = /^([0-9a-f]{16}) [A-Za-z] ([\w.$]+)$/;
/** Where SYSCALL leads: from it follows by how much a kernel lies elsewhere than it was linked for. */
const ENTRY = 'entry_SYSCALL_64';
const FIRST = ['_text', '_stext'];
const LAST = ['_end', '__bss_stop'];
/** Parts of the image that the kernel gives away when it has started: what only the start, several processors or encrypted memory needed, and what lies between its parts. */
const GIVEN_AWAY = [['__init_begin', '__init_end'], ['_etext', '__start_rodata'], ['__end_rodata', '_sdata'], ['__smp_locks', '__smp_locks_end'], ['__start_bss_decrypted_unused', '__end_bss_decrypted']] as const;
const PAGE_BYTES = 4096n;
/** No kernel is larger. */
const KERNEL_BYTES = 1n << 30n;

/** By address. */
export type Symbols = readonly { readonly address: bigint; readonly name: string }[];

/** @throws ContractError `file-unreadable`, or `bad-field` when it names no kernel */
export function readSymbols(path: string): Symbols {
  let text: string;
  try {
    if (statSync(path).size > FILE_MAXIMUM) throw new Error('it is too large for symbols');
    text = readFileSync(path, 'latin1');
  } catch (error) {
    throw new ContractError('file-unreadable', `The symbols "${path}" cannot be read: ${unreadableBecause(error)}.`, 'Name the System.map of the guest\'s kernel, or a copy of its /proc/kallsyms.', 'symbols');
  }
  const symbols = text.split('\n').flatMap((line) => {
    const [, address, name] = LINE.exec(line.trimEnd()) ?? [];
    return address === undefined || name === undefined ? [] : [{ address: BigInt(`0x${address}`), name }];
  }).toSorted((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  const known = new Set(symbols.map(({ name }) => name));
  if (known.has(ENTRY) && [FIRST, LAST].every((names) => names.some((name) => known.has(name)))) return symbols;
  throw new ContractError('bad-field', `"${path}" has not the symbols of a 64-bit Linux kernel (${ENTRY}, ${FIRST.join(' or ')}, ${LAST.join(' or ')}).`, 'Name its System.map, or a copy of its /proc/kallsyms as root reads it.', 'symbols');
}

/**
 * @param state states by component of the machine
 * @param read content of a guest-physical page
 */
export function kernelOwners(symbols: Symbols, state: unknown, read: (page: number) => Uint8Array): OwnerOf {
  const memory = LinuxMemory.of(state, read);
  if (memory === null) return () => null;
  const linkedAt = new Map(symbols.map(({ name, address }) => [name, address]));
  const slide = memory.syscallEntry - (linkedAt.get(ENTRY) ?? 0n);
  const addressOf: AddressOf = (name) => {
    const address = linkedAt.get(name);
    return address === undefined ? null : address + slide;
  };
  memory.reach(addressOf('init_task') ?? 0n);
  const image = imageOwners(memory, symbols, slide);
  const processes = processOwners(memory, addressOf);
  const allocated = pageOwners(memory, addressOf);
  // Of a page that several may claim, the kernel's own account counts first: files are mapped by processes, and parts of the image are given away.
  const areas = areaOwners(memory, addressOf);
  return (page) => allocated(page) ?? image.get(page) ?? processes.get(page) ?? areas.get(page) ?? null;
}

/** The pages of the kernel's own image, each with the symbols in it. */
function imageOwners(memory: LinuxMemory, symbols: Symbols, slide: bigint): ReadonlyMap<number, string> {
  const addressOf = (names: readonly string[]): bigint => symbols.find(({ name }) => names.includes(name))?.address ?? 0n;
  const [first, last] = [addressOf(FIRST), addressOf(LAST)];
  const given = GIVEN_AWAY.map(([from, to]) => [addressOf([from]), addressOf([to])] as const);
  const owners = new Map<number, string>();
  if (last <= first || last - first > KERNEL_BYTES) return owners;
  for (let linear = first & ~(PAGE_BYTES - 1n), next = 0; linear < last; linear += PAGE_BYTES) {
    while (next + 1 < symbols.length && (symbols[next + 1]?.address ?? 0n) <= linear) next += 1;
    let end = next;
    while (end + 1 < symbols.length && (symbols[end + 1]?.address ?? 0n) < linear + PAGE_BYTES) end += 1;
    if (given.some(([from, to]) => linear >= from && linear + PAGE_BYTES <= to)) continue;
    const page = memory.page(linear + slide);
    if (page !== null) owners.set(page, next === end ? symbols[next]!.name : `${symbols[next]!.name} to ${symbols[end]!.name}`);
  }
  return owners;
}
