/** What firmware does before a system starts: numbers the buses, gives every base address register a place and every bridge its windows. */

import { bridgeRegister } from './bridgeWindows.ts';
import { pciCommand, pciRegister } from './function.ts';
import { isBridge } from './host.ts';
import { slotMemoryBytes, slotPorts } from '../memoryLayout.ts';
import type { PciBar, PciFunction } from './function.ts';
import type { PciBridgeFunction, PciHost } from './host.ts';

/** A range to give away, from `next` up to `end` (exclusive). */
interface Pool {
  next: number;
  readonly end: number;
}

interface Pools {
  readonly port: readonly Pool[];
  readonly memory: readonly Pool[];
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
 * Gives addresses to the functions of bus 0 and then to what is behind bridges, largest first. What finds no room is left without: the function
 * then does not decode it.
 * @param line the ISA interrupt that pin 1 to 4 of a slot of bus 0 reaches, for the interrupt line register
 */
export function assignAddresses(host: PciHost, windows: PciWindows, line: (slot: number, pin: number) => number): void {
  const pools: Pools = {
    port: [{ next: windows.port.base, end: windows.port.end }],
    memory: windows.memory.map(({ base, end }) => ({ next: base, end })),
  };
  const functions = [...host.bus.functions].sort(([a], [b]) => a - b);
  place(functions.map(([, fn]) => fn), pools);
  let bus = 0;
  for (const [, fn] of functions) if (isBridge(fn)) openBridge(fn, ++bus, pools.memory);
  for (const { fn, place: at, bus: { number } } of host.list()) {
    const pin = fn.readConfig(pciRegister.interruptPin, 1);
    const bridge = number === 0 ? null : functions.find(([, candidate]) => isBridge(candidate) && candidate.leadsTo(number));
    // A card is device 0 of its bus: its pins are those of the bridge's own device.
    if (pin > 0) fn.writeConfig(pciRegister.interruptLine, 1, line((bridge?.[0] ?? at) >> 3, pin));
  }
}

function place(functions: readonly PciFunction[], pools: Pools): void {
  const wanted = functions.flatMap((fn, order) => fn.barSizes.map(({ index, bar }) => ({ order, fn, index, bar })));
  for (const { fn, index, bar } of wanted.sort((a, b) => b.bar.size - a.bar.size || a.order - b.order)) give(fn, index, bar, take(pools[bar.space], bar.size));
}

/** Numbers the bus behind a bridge and opens its windows: ports, and memory with and without side effects, room for cards that come later. */
function openBridge(bridge: PciBridgeFunction, bus: number, memory: readonly Pool[]): void {
  bridge.writeConfig(bridgeRegister.primaryBus, 4, (bus << 8) | (bus << 16));
  const port = slotPorts.base + (bus - 1) * slotPorts.bytes;
  bridge.writeConfig(bridgeRegister.ioBase, 2, (port >> 8) | (((port + slotPorts.bytes - 1) >> 8) << 8));
  const plain = take(memory, slotMemoryBytes);
  const prefetchable = take(memory, slotMemoryBytes);
  for (const [register, base] of [[bridgeRegister.memoryBase, plain], [bridgeRegister.prefetchBase, prefetchable]] as const) {
    // A base above the limit closes a window.
    bridge.writeConfig(register, 2, base === null ? 0xfff0 : base >>> 16);
    bridge.writeConfig(register + 2, 2, base === null ? 0 : (base + slotMemoryBytes - 1) >>> 16);
  }
  bridge.writeConfig(pciRegister.command, 2, pciCommand.io | pciCommand.memory | pciCommand.busMaster);
  const room = plain === null ? [] : [{ next: plain, end: plain + slotMemoryBytes }];
  place(bridge.cards, { port: [{ next: port, end: port + slotPorts.bytes }], memory: room });
}

function give(fn: PciFunction, index: number, bar: PciBar, address: number | null): void {
  if (address === null) return;
  fn.writeConfig(pciRegister.bar0 + index * 4, 4, address);
  const enable = bar.space === 'port' ? pciCommand.io : pciCommand.memory;
  fn.writeConfig(pciRegister.command, 2, fn.readConfig(pciRegister.command, 2) | enable);
}
