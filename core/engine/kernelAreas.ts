/**
 * What of a Linux guest's memory its kernel maps page by page into areas of its own: stacks of tasks, modules, what it has put together of
 * single pages, and the page tables for all of it.
 */
import { find } from './linuxMemory.ts';
import type { AddressOf, LinuxMemory } from './linuxMemory.ts';
import { findTasks } from './linuxTasks.ts';

/** Areas by where they begin, or the variable that says so. Modules are behind the gigabyte that the kernel's own image has. */
const AREAS = [
  { name: 'modules', symbol: 0xffff_ffff_c000_0000n, bytes: 0x3f00_0000n },
  { name: 'vmalloc', symbol: 'vmalloc_base', bytes: 1n << 45n },
  { name: 'descriptors of pages', symbol: 'vmemmap_base', bytes: 1n << 40n },
] as const;
const STACK_PAGES = 4n;
const PAGE_BYTES = 4096n;
const ENTRIES = 512;
/** What a hostile guest may make of it. */
const TABLES_MAXIMUM = 1 << 13;
const PAGES_MAXIMUM = 1 << 20;

/** @param addressOf where a symbol of the kernel is; null: it is not among them */
export function areaOwners(memory: LinuxMemory, addressOf: AddressOf): ReadonlyMap<number, string> {
  const owners = new Map<number, string>();
  const areas = AREAS.flatMap(({ name, symbol, bytes }) => {
    const from = typeof symbol === 'bigint' ? symbol : memory.wordAt(addressOf(symbol));
    return from === 0n ? [] : [{ name, from, to: from + bytes }];
  });
  const left = { tables: TABLES_MAXIMUM, pages: PAGES_MAXIMUM };
  const visit = (table: number, level: number, base: bigint): void => {
    const shift = 12n + BigInt(level - 1) * 9n;
    // The lower half of the uppermost structure is a program's.
    for (let index = level === memory.levels ? ENTRIES / 2 : 0; index < ENTRIES && left.tables > 0 && left.pages > 0; index += 1) {
      const entry = memory.entry(table, level, index);
      if (entry === null) continue;
      const linear = base + (BigInt(index) << shift);
      if (!entry.maps) {
        left.tables -= 1;
        owners.set(entry.page, 'page tables of the kernel');
        visit(entry.page, level - 1, linear);
      } else if (level <= 2) {
        const area = areas.find(({ from, to }) => linear >= from && linear < to);
        const pages = level === 1 ? 1 : ENTRIES;
        if (!area) continue;
        left.pages -= pages;
        for (let page = entry.page; page < entry.page + pages; page += 1) owners.set(page, area.name);
      }
    }
  };
  visit(memory.root, memory.levels, BigInt.asUintN(64, -1n << (12n + BigInt(memory.levels) * 9n)));
  for (const [name, stack] of stacks(memory, addressOf)) {
    for (let at = 0n; at < STACK_PAGES; at += 1n) {
      const page = memory.page(stack + at * PAGE_BYTES);
      if (page !== null) owners.set(page, `kernel stack of ${name}`);
    }
  }
  return owners;
}

/** Addresses of tasks' stacks, with the tasks' names: the first task's is part of the kernel's image. */
function stacks(memory: LinuxMemory, addressOf: AddressOf): readonly (readonly [string, bigint])[] {
  const tasks = findTasks(memory, addressOf);
  const first = addressOf('init_stack');
  const field = tasks && first !== null ? find(tasks.nameOffset, (offset) => memory.word(tasks.first + offset) === first) : null;
  return tasks === null || field === null ? [] : tasks.others.map((task) => [tasks.nameOf(task), memory.word(task + field)] as const);
}
