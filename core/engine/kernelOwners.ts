/** What of a Linux kernel lies in a page of its memory, by the kernel's symbols: System.map, or /proc/kallsyms of the guest itself. */
import { readFileSync, statSync } from 'node:fs';
import * as z from 'zod';
import { ContractError } from '../contract/errors.ts';

/** The owner of a guest-physical page; null: none that is known. */
export type OwnerOf = (page: number) => string | null;

const FILE_MAXIMUM = 64 << 20;
const LINE = /^([0-9a-f]{16}) [A-Za-z] ([\w.$]+)$/;
/** Where SYSCALL leads: from it follows by how much a kernel lies elsewhere than it was linked for. */
const ENTRY = 'entry_SYSCALL_64';
const FIRST = ['_text', '_stext'];
const LAST = ['_end', '__bss_stop'];
const PAGE_BYTES = 4096n;
/** No kernel is larger. */
const KERNEL_BYTES = 1n << 30n;
const EFER_LMA = 1n << 10n;
const CR4_LA57 = 1n << 12n;
const PRESENT = 1n;
const LARGE = 1n << 7n;
const ADDRESS = 0xffffffffff000n;
const INDEX_BITS = 9n;

interface Symbol {
  readonly address: bigint;
  readonly name: string;
}

/** Registers of a saved processor that say where its kernel is. */
const registers = z.object({ cr3: z.string(), cr4: z.string(), efer: z.string(), lstar: z.string() });

/** @throws ContractError `file-unreadable`, or `bad-field` when it names no kernel */
export function readSymbols(path: string): readonly Symbol[] {
  let text: string;
  try {
    if (statSync(path).size > FILE_MAXIMUM) throw new Error('it is too large for symbols');
    text = readFileSync(path, 'latin1');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ContractError('file-unreadable', `The symbols "${path}" cannot be read: ${reason}.`, 'Name the System.map of the guest\'s kernel, or a copy of its /proc/kallsyms.', 'symbols');
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
export function kernelOwners(symbols: readonly Symbol[], state: unknown, read: (page: number) => Uint8Array): OwnerOf {
  const saved = registers.safeParse((state as Record<string, unknown> | null)?.['vcpu 0']).data;
  const addressOf = (names: readonly string[]): bigint => symbols.find(({ name }) => names.includes(name))?.address ?? 0n;
  if (!saved || (BigInt(saved.efer) & EFER_LMA) === 0n) return () => null;
  const slide = BigInt(saved.lstar) - addressOf([ENTRY]);
  const [first, last] = [addressOf(FIRST), addressOf(LAST)];
  const owners = new Map<number, string>();
  const tables = new Map<number, Uint8Array>();
  const readTable = (page: number): Uint8Array => {
    const content = tables.get(page) ?? read(page);
    tables.set(page, content);
    return content;
  };
  if (last <= first || last - first > KERNEL_BYTES) return () => null;
  for (let linear = first & ~(PAGE_BYTES - 1n), next = 0; linear < last; linear += PAGE_BYTES) {
    while (next + 1 < symbols.length && (symbols[next + 1]?.address ?? 0n) <= linear) next += 1;
    let end = next;
    while (end + 1 < symbols.length && (symbols[end + 1]?.address ?? 0n) < linear + PAGE_BYTES) end += 1;
    const page = translate(linear + slide, saved, readTable);
    if (page !== null) owners.set(page, next === end ? symbols[next]!.name : `${symbols[next]!.name} to ${symbols[end]!.name}`);
  }
  return (page) => owners.get(page) ?? null;
}

/** The guest-physical page of a linear address; null: it is not mapped. @sdm 3A 4.5 */
function translate(linear: bigint, { cr3, cr4 }: z.infer<typeof registers>, read: (page: number) => Uint8Array): number | null {
  let table = BigInt(cr3) & ADDRESS;
  for (let level = BigInt(cr4) & CR4_LA57 ? 5n : 4n; level > 0n; level -= 1n) {
    const shift = 12n + (level - 1n) * INDEX_BITS;
    const content = read(Number(table >> 12n));
    const entry = new DataView(content.buffer, content.byteOffset).getBigUint64(Number((linear >> shift) & 511n) * 8, true);
    if ((entry & PRESENT) === 0n) return null;
    const isLast = level === 1n || (level <= 3n && (entry & LARGE) !== 0n);
    if (!isLast) table = entry & ADDRESS;
    else return Number(((entry & ADDRESS & ~((1n << shift) - 1n)) | (linear & ((1n << shift) - 1n))) >> 12n);
  }
  return null;
}
