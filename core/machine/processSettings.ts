/** How a process that runs a machine is started. */
import { fromSources } from './entries.ts';

/**
 * glibc's allocator, told to give back what was freed. Compiler threads come and go: with an arena a thread, 20 MB of theirs would stay with
 * the process, and another 15 MB because blocks that have grown once are no longer mapped one by one.
 */
export const ALLOCATOR_ENVIRONMENT = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '131072', MALLOC_TRIM_THRESHOLD_: '131072' } as const;

/** The machine's code is made for speed already: V8 need not inline it. */
export const NO_INLINING = '--no-wasm-inlining';

/**
 * From the sources, each thread has WebAssembly of Node's own, which strips types: threads share its code, and one that is made after the flag has
 * changed would crash. So it is set from the start. Bundled programs set it in the core thread (worker.ts): Node brings its own modules compiled for
 * V8's defaults, and with other flags on the command line it compiles them anew in each thread, for 35 ms.
 */
export const EXEC_ARGUMENTS: readonly string[] = fromSources ? [NO_INLINING] : [];
