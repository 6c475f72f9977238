/**
 * What of a Linux guest's memory belongs to its processes, by their page tables. The kernel's structures differ from build to build: where a
 * field lies follows from tasks and address spaces of which it is known what they hold: the first ones (init_task, init_mm), and that of init.
 */
import { find } from './linuxMemory.ts';
import type { AddressOf, LinuxMemory } from './linuxMemory.ts';

/** Bytes of a structure in which a field is looked for. */
const TASK_BYTES = 16 * 1024;
const SPACE_BYTES = 1024;
const NAME_BYTES = 16;
const FIRST_NAME = /^swapper(\/0)?$/;
/** What a hostile guest may make of it. */
const TASKS_MAXIMUM = 4096;
/** So many tasks one behind another are no accident. */
const TASKS_ENOUGH = 8;
/** Pages that all processes have mapped, and their page tables. */
const PAGES_MAXIMUM = 1 << 20;
const TABLES_MAXIMUM = 1 << 14;
/** Names of processes that share a page. */
const NAMES_SHOWN = 3;
const ENTRIES = 512;

/** Offsets of a task's fields, in bytes. */
interface TaskFields {
  readonly name: bigint;
  /** The list of all tasks. */
  readonly tasks: bigint;
}

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
  const [first, space, uppermost] = [addressOf('init_task'), addressOf('init_mm'), addressOf('init_top_pgt')];
  if (first === null || space === null || uppermost === null) return [];
  const name = find(TASK_BYTES, (offset) => FIRST_NAME.test(memory.text(first + offset, NAME_BYTES)));
  const tables = find(SPACE_BYTES, (offset) => memory.word(space + offset) === uppermost);
  if (name === null || tables === null) return [];
  const list = find(Number(name), (offset) => tasksOf(memory, first, { name, tasks: offset }, TASKS_ENOUGH).length > 0);
  const tasks = list === null ? [] : tasksOf(memory, first, { name, tasks: list });
  const tablesOf = (at: bigint): number | null => {
    const page = memory.page(memory.word(at) + tables);
    const table = page === null ? null : memory.page(memory.word(memory.word(at) + tables));
    return table !== null && memory.hasKernel(table) ? table : null;
  };
  // A process works in its own address space, as the field behind says; the first task has none of its own.
  const [init] = tasks;
  const own = init === undefined ? null : find(Number(name), (offset) => {
    const at = init + offset;
    return memory.word(at) !== 0n && memory.word(at) === memory.word(at + 8n) && memory.word(first + offset) === 0n && tablesOf(at) !== null;
  });
  if (own === null) return [];
  return tasks.flatMap((task) => {
    const uppermostTable = tablesOf(task + own);
    return uppermostTable === null ? [] : [{ name: memory.text(task + name, NAME_BYTES), tables: uppermostTable }];
  });
}

/** All tasks but the first; none where the list is not one of tasks: each is linked both ways, and has a name. */
function tasksOf(memory: LinuxMemory, first: bigint, { name, tasks }: TaskFields, maximum = TASKS_MAXIMUM): readonly bigint[] {
  const head = first + tasks;
  const found: bigint[] = [];
  for (let before = head, link = memory.word(head); link !== head && found.length < maximum; before = link, link = memory.word(link)) {
    if (memory.word(link + 8n) !== before || memory.text(link - tasks + name, NAME_BYTES) === '') return [];
    found.push(link - tasks);
  }
  return found;
}
