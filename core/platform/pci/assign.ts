/** What firmware does before a system starts: gives every base address register a place and every bridge its windows. */

import { pciCommand, pciRegister } from './function.ts';
import type { PciBar, PciFunction } from './function.ts';
import type { PciHost } from './host.ts';

/** A range to give away, from `next` up to `end` (exclusive). */
interface Pool {
  next: number;
  readonly end: number;
}

export interface PciWindows {
  readonly port: { readonly base: number; readonly end: number };
  /** Below 4 GiB, one or more, in the order in which they are used. */
  readonly memory: readonly { readonly base: number; readonly end: number }[];
}

function take(pools: readonly Pool[], size: number): number | null {
  for (const pool of pools) {
    const base = Math.ceil(pool.next / size) * size;
    if (base + size > pool.end) continue;
    pool.next = base + size;
    return base;
  }
  return null;
}

/**
 * Gives addresses to the functions of bus 0, largest first. What finds no room is left without: the function then does not decode it.
 * @param line the ISA interrupt that pin 1 to 4 of a slot reaches, for the interrupt line register
 */
export function assignAddresses(host: PciHost, windows: PciWindows, line: (slot: number, pin: number) => number): void {
  const pools = {
    port: [{ next: windows.port.base, end: windows.port.end }],
    memory: windows.memory.map(({ base, end }) => ({ next: base, end })),
  };
  const wanted = [...host.bus.functions].flatMap(([place, fn]) => fn.barSizes.map(({ index, bar }) => ({ place, fn, index, bar })));
  for (const { fn, index, bar } of wanted.sort((a, b) => b.bar.size - a.bar.size || a.place - b.place)) give(fn, index, bar, take(pools[bar.space], bar.size));
  for (const [place, fn] of host.bus.functions) {
    const pin = fn.readConfig(pciRegister.interruptPin, 1);
    if (pin > 0) fn.writeConfig(pciRegister.interruptLine, 1, line(place >> 3, pin));
  }
}

function give(fn: PciFunction, index: number, bar: PciBar, address: number | null): void {
  if (address === null) return;
  fn.writeConfig(pciRegister.bar0 + index * 4, 4, address);
  const enable = bar.space === 'port' ? pciCommand.io : pciCommand.memory;
  fn.writeConfig(pciRegister.command, 2, fn.readConfig(pciRegister.command, 2) | enable);
}
