/**
 * What of a Linux guest's memory belongs to its processes, by their page tables. The kernel's structures differ from build to build: where a
 * field lies follows from tasks and address spaces of which it is known what they hold: the first ones (init_task, init_mm), and that of init.
 */
import { find } from './linuxMemory.ts';
import type { AddressOf, LinuxMemory } from './linuxMemory.ts';
import { findTasks } from './linuxTasks.ts';

/** Bytes of an address space in which a field is looked for. */
const SPACE_BYTES = 1024;
/** Pages that all processes have mapped, and their page tables. */
const PAGES_MAXIMUM = 1 << 20;
const TABLES_MAXIMUM = 1 << 14;
/** Names of processes that share a page. */
const NAMES_SHOWN = 3;
const ENTRIES = 512;

interface Process {
  readonly name: string;
  /** Page of its uppermost paging structure. */
  readonly tables: number;
}

/** @param addressOf where a symbol of the kernel is; null: it is not among them */
export function processOwners(memory: LinuxMemory, addressOf: AddressOf): ReadonlyMap<number, string> {
  const users = new Map<number, readonly string[]>();
  const owners = new Map<number, string>();
  const left = { pages: PAGES_MAXIMUM, tables: TABLES_MAXIMUM };
  const use = (page: number, names: readonly string[]): void => {
    const before = users.get(page) ?? [];
    left.pages -= 1;
    if (before.length === 0) users.set(page, names);
    else if (before.length <= NAMES_SHOWN && !before.includes(names[0] ?? '')) users.set(page, [...before, ...names]);
  };
  const visit = (names: readonly string[], table: number, level: number): void => {
    left.tables -= 1;
    owners.set(table, `page tables of ${names[0]}`);
    // The upper half of the uppermost structure is the kernel's.
    for (let index = 0; index < (level === memory.levels ? ENTRIES / 2 : ENTRIES); index += 1) {
      const entry = memory.entry(table, level, index);
      if (left.pages <= 0 || left.tables <= 0) return;
      if (entry === null) continue;
      if (!entry.maps) visit(names, entry.page, level - 1);
      else for (let page = entry.page; page < entry.page + (level === 1 ? 1 : ENTRIES); page += 1) use(page, names);
    }
  };
  for (const { name, tables } of processes(memory, addressOf)) visit([name], tables, memory.levels);
  for (const [page, names] of users) {
    const shown = names.slice(0, NAMES_SHOWN).join(', ');
    owners.set(page, names.length === 1 ? `process ${shown}` : `processes ${shown}${names.length > NAMES_SHOWN ? ' and others' : ''}`);
  }
  return owners;
}

/** Those that have an address space of their own. */
function processes(memory: LinuxMemory, addressOf: AddressOf): readonly Process[] {
  const tasks = findTasks(memory, addressOf);
  const [space, uppermost] = [addressOf('init_mm'), addressOf('init_top_pgt')];
  if (tasks === null || space === null || uppermost === null) return [];
  const tables = find(SPACE_BYTES, (offset) => memory.word(space + offset) === uppermost);
  if (tables === null) return [];
  const tablesOf = (at: bigint): number | null => {
    const page = memory.page(memory.word(at) + tables);
    const table = page === null ? null : memory.page(memory.word(memory.word(at) + tables));
    return table !== null && memory.hasKernel(table) ? table : null;
  };
  // A process works in its own address space, as the field behind says; the first task has none of its own.
  const [init] = tasks.others;
  const own = init === undefined ? null : find(tasks.nameOffset, (offset) => {
    const at = init + offset;
    return memory.word(at) !== 0n && memory.word(at) === memory.word(at + 8n) && memory.word(tasks.first + offset) === 0n && tablesOf(at) !== null;
  });
  if (own === null) return [];
  return tasks.others.flatMap((task) => {
    const uppermostTable = tablesOf(task + own);
    return uppermostTable === null ? [] : [{ name: tasks.nameOf(task), tables: uppermostTable }];
  });
}
