/** How V8 compiles what a machine is made of. Whoever compiles WebAssembly imports this first. */
import { setFlagsFromString } from 'node:v8';

/**
 * Must be set before anything is compiled. Branch hints, off by default in this V8, lay look-aside misses out of the way. The code here is
 * made for speed already, so that changing its loops costs compile time alone; and nothing in it recurses. (Inlining is
 * switched off in core/machine/processSettings.ts.) TypeScript is optimised later than by default, which is soon for a program that runs for seconds: a
 * guest's boot is over by then.
 */
for (const flag of [
  'experimental-wasm-branch-hinting', 'no-wasm-loop-unrolling', 'no-wasm-loop-peeling', 'no-wasm-stack-checks', 'invocation-count-for-maglev=1200',
  'invocation-count-for-turbofan=100000',
]) {
  setFlagsFromString(`--${flag}`);
}
