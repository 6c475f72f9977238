/** `run` is one process from the start; glibc reads how its allocator shall work, and V8 how it compiles, before the first instruction of a program. */
import { ALLOCATOR_ENVIRONMENT, EXEC_ARGUMENTS } from '../engine/vm-process.ts';

/** Replaces this process by one like it with the settings of a VM process, where the system can: the same process, arguments and files. */
export function useFrugalAllocator(): void {
  if (process.platform !== 'linux' || typeof process.execve !== 'function' || 'MALLOC_ARENA_MAX' in process.env) return;
  // `execve` counts as experimental, which is nothing to tell people.
  process.removeAllListeners('warning');
  process.execve(process.execPath, [process.execPath, ...EXEC_ARGUMENTS, ...process.execArgv, ...process.argv.slice(1)], { ...process.env, ...ALLOCATOR_ENVIRONMENT });
}
