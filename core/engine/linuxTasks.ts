/** The tasks of a Linux guest: threads of its kernel and of programs. Where a field lies follows from what the first of them holds. */
import { find } from './linuxMemory.ts';
import type { AddressOf, LinuxMemory } from './linuxMemory.ts';

/** Bytes of a task in which a field is looked for. */
const TASK_BYTES = 16 * 1024;
const NAME_BYTES = 16;
const FIRST_NAME = /^swapper(\/0)?$/;
/** What a hostile guest may make of it. */
const TASKS_MAXIMUM = 4096;
/** So many tasks one behind another are no accident. */
const TASKS_ENOUGH = 8;

/** Addresses of tasks. */
export interface Tasks {
  readonly first: bigint;
  readonly others: readonly bigint[];
  /** Bytes before a task's name: fields of which little else is known lie there. */
  readonly nameOffset: number;
  nameOf(task: bigint): string;
}

/** Offsets of a task's fields, in bytes. */
interface TaskFields {
  readonly name: bigint;
  /** The list of all tasks. */
  readonly tasks: bigint;
}

/** Null: they are not where the symbols say. @param addressOf where a symbol of the kernel is */
export function findTasks(memory: LinuxMemory, addressOf: AddressOf): Tasks | null {
  const first = addressOf('init_task');
  if (first === null) return null;
  const name = find(TASK_BYTES, (offset) => FIRST_NAME.test(memory.text(first + offset, NAME_BYTES)));
  if (name === null) return null;
  const tasks = find(Number(name), (offset) => tasksOf(memory, first, { name, tasks: offset }, TASKS_ENOUGH).length > 0);
  if (tasks === null) return null;
  return { first, others: tasksOf(memory, first, { name, tasks }), nameOffset: Number(name), nameOf: (task) => memory.text(task + name, NAME_BYTES) };
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
