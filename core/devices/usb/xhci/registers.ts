/** Places and bits of an xHCI controller's registers. @xhci 5 */

/** Device slots, root hub ports of each kind, interrupters. */
export const SLOTS = 32;
export const PORTS_USB2 = 4;
export const PORTS_USB3 = 4;
export const PORTS = PORTS_USB2 + PORTS_USB3;
export const INTERRUPTERS = 4;

/** Where each group lies in the BAR. */
export const place = { operational: 0x40, ports: 0x440, protocols: 0x500, runtime: 0x1000, doorbells: 0x2000, messages: 0x3000 } as const;
export const REGISTER_BYTES = 0x4000;
const HCIVERSION = 0x0100;
const ERST_EXPONENT = 4;
/** Segments of an event ring. */
export const ERST_SEGMENTS = 1 << ERST_EXPONENT;

/** Capability registers and extended capabilities, which nobody changes, by offset. @xhci 5.3, 7.2 */
export const constants: ReadonlyMap<number, number> = new Map([
  [0x00, place.operational | (HCIVERSION << 16)],
  [0x04, SLOTS | (INTERRUPTERS << 8) | (PORTS << 24)],
  // Isochronous scheduling threshold of one microframe; no scratchpad.
  [0x08, 1 | (ERST_EXPONENT << 4)],
  [0x0c, 0],
  // 64-bit addresses, contexts of 32 bytes, no streams.
  [0x10, 1 | ((place.protocols / 4) << 16)],
  [0x14, place.doorbells],
  [0x18, place.runtime],
  [0x1c, 0],
  ...protocol(place.protocols, 4, 0x0200, 1, PORTS_USB2),
  ...protocol(place.protocols + 0x10, 0, 0x0300, 1 + PORTS_USB2, PORTS_USB3),
]);

/** A supported protocol capability: `next` in words. */
function protocol(at: number, next: number, revision: number, first: number, count: number): readonly (readonly [number, number])[] {
  const supported = 2;
  const usb = 0x20425355;
  return [[at, supported | (next << 8) | (revision << 16)], [at + 4, usb], [at + 8, first | (count << 8)], [at + 12, 0]];
}

/** Operational registers, from their place on. @xhci 5.4 */
export const operational = { command: 0x00, status: 0x04, pageSize: 0x08, notification: 0x14, commandRing: 0x18, commandRingHigh: 0x1c, contexts: 0x30, contextsHigh: 0x34, configure: 0x38 } as const;
export const command = { run: 1 << 0, reset: 1 << 1, interrupts: 1 << 2, hostErrors: 1 << 3, save: 1 << 8, restore: 1 << 9 } as const;
/** Bits that stay as they were written. */
export const commandKept = command.run | command.interrupts | command.hostErrors | (1 << 10) | (1 << 11);
export const status = { halted: 1 << 0, hostError: 1 << 2, event: 1 << 3, portChange: 1 << 4, restoreError: 1 << 10, controllerError: 1 << 12 } as const;
export const statusCleared = status.hostError | status.event | status.portChange | status.restoreError;
export const ringControl = { cycle: 1 << 0, stop: 1 << 1, abort: 1 << 2, running: 1 << 3 } as const;

/** Of an interrupter, from its place on. @xhci 5.5.2 */
export const interrupter = { management: 0x00, moderation: 0x04, tableSize: 0x08, table: 0x10, tableHigh: 0x14, dequeue: 0x18, dequeueHigh: 0x1c, bytes: 0x20 } as const;
export const management = { pending: 1, enable: 2 } as const;
export const handlerBusy = 8;

/** A root hub port's. @xhci 5.4.8 */
export const portBit = {
  connected: 1 << 0, enabled: 1 << 1, reset: 1 << 4, power: 1 << 9, linkWrite: 1 << 16,
  connectChange: 1 << 17, enableChange: 1 << 18, warmResetChange: 1 << 19, overcurrentChange: 1 << 20, resetChange: 1 << 21, linkChange: 1 << 22, configChange: 1 << 23,
  warmReset: 2 ** 31,
} as const;
export const portChanges = 0x00fe0000;
export const portKept = 0x0e00c000;
export const linkState = { u0: 0, u3: 3, disabled: 4, detect: 5, polling: 7, resume: 15 } as const;

/** The full 64 bits of a pointer of which no more than 53 are remembered: no memory lies above. */
export function withLow(before: number, value: number): number {
  return Math.floor(before / 2 ** 32) * 2 ** 32 + value;
}

export function withHigh(before: number, value: number): number {
  return (value & 0x1fffff) * 2 ** 32 + (before % 2 ** 32);
}

/** A pointer's two words as read. */
export function lowWord(value: number): number {
  return value % 2 ** 32;
}

export function highWord(value: number): number {
  return Math.floor(value / 2 ** 32);
}
