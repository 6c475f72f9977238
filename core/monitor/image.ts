/** The built-in guest: assembled at start-up, placed at 1 MB, entered in 64-bit mode. */
import { BootError, sizeText } from '../boot/loader.ts';
import type { BootPlan, LoadedImage } from '../boot/loader.ts';
import { longEntry, lowMemory } from '../boot/entryState.ts';
import { maximumMemory, minimumMemory } from '../boot/image.ts';
import { oneMegabyte } from '../platform/memoryLayout.ts';
import { accessCommands, accessRoutines } from './access.ts';
import { commandLoop } from './commands.ts';
import { consoleRoutines, serialInterrupt, startUart } from './console.ts';
import { information, inventoryCommands, inventoryRoutines } from './inventory.ts';
import { measureCommands, measureRoutines } from './measure.ts';
import { memoryTestCommands, memoryTestRoutines } from './memtest.ts';
import { Program } from './program.ts';
import { endings, entry, interruptRoutines } from './runtime.ts';
import { wordRoutines } from './words.ts';

interface MonitorImage {
  readonly image: Uint8Array;
  readonly entry: number;
  /** The first address behind the monitor's variables. */
  readonly end: number;
}

/** Assembles the monitor for its place at 1 MB. */
export function assembleMonitor(version: string): MonitorImage {
  const p = new Program(oneMegabyte);
  entry(p, () => banner(p, version));
  p.label('startConsole');
  startUart(p);
  p.emit('RET');
  consoleRoutines(p);
  serialInterrupt(p);
  interruptRoutines(p);
  endings(p);
  wordRoutines(p);
  inventoryRoutines(p);
  memoryTestRoutines(p);
  measureRoutines(p);
  accessRoutines(p);
  commandLoop(p, [...inventoryCommands, ...memoryTestCommands, ...measureCommands, ...accessCommands]);
  const { image, end } = p.finish();
  return { image, entry: p.a.addressOf('entry'), end };
}

function banner(p: Program, version: string): void {
  p.line(`\nVanderpool monitor ${version}`).line('\n', 'A small 64-bit program on an emulated PC. Look around: type help.', '\n');
}

/**
 * Plans a boot of the monitor.
 * @throws BootError when the machine cannot run it
 */
export function loadMonitor(plan: BootPlan, version: string): LoadedImage {
  if (plan.memoryBytes < minimumMemory) throw new BootError(`a guest needs at least ${sizeText(minimumMemory)} of memory`);
  if (plan.memoryBytes > maximumMemory) throw new BootError(`a guest can have at most ${sizeText(maximumMemory)} of memory`);
  const monitor = assembleMonitor(version);
  const { writes, vcpu } = longEntry({ rip: monitor.entry, rsi: lowMemory.bootParams });
  return {
    writes: [
      ...writes,
      { address: oneMegabyte, data: monitor.image },
      { address: lowMemory.bootParams, data: describeMachine(plan, monitor.end) },
    ],
    vcpu,
  };
}

/** What the monitor is told, in the layout of `information`. */
function describeMachine(plan: BootPlan, end: number): Uint8Array {
  const data = new Uint8Array(information.list + plan.memoryMap.length * information.regionBytes);
  const view = new DataView(data.buffer);
  const put = (offset: number, value: number): void => view.setBigUint64(offset, BigInt(value), true);
  put(information.memoryBytes, plan.memoryBytes);
  put(information.rootPointer, plan.rsdpAddress);
  put(information.end, end);
  put(information.regions, plan.memoryMap.length);
  plan.memoryMap.forEach(({ base, length, type }, i) => {
    const at = information.list + i * information.regionBytes;
    put(at, base);
    put(at + 8, length);
    put(at + 16, type);
  });
  return data;
}
