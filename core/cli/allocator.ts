/** `run` is one process from the start; glibc reads how its allocator shall work before the first instruction of a program. */
import { fileURLToPath } from 'node:url';
import { entryUrl } from '../machine/entries.ts';
import { ALLOCATOR_ENVIRONMENT, EXEC_ARGUMENTS } from '../machine/processSettings.ts';

/** Replaces this process by one like it with the settings of a VM process, where the system can: the same process, arguments and files. */
export function useFrugalAllocator(): void {
  if (process.platform !== 'linux' || typeof process.execve !== 'function' || 'MALLOC_ARENA_MAX' in process.env) return;
  // `execve` counts as experimental, which is nothing to tell people.
  process.removeAllListeners('warning');
  const program = [process.execPath, ...EXEC_ARGUMENTS, ...process.execArgv, fileURLToPath(entryUrl('cli'))];
  process.execve(process.execPath, [...program, ...process.argv.slice(2)], { ...process.env, ...ALLOCATOR_ENVIRONMENT });
}
