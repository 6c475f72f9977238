/** A serial port's line as the guest sets it: what Node has no call for. Linux only; elsewhere the line stays as the host has set it. */
import { linuxCalls } from './libc.ts';
import type { LineSettings, ModemLines, Parity } from '../devices/uart16550.ts';

/** Requests of terminals, and of their modem lines. */
const request = { getSettings: 0x802c542a, setSettings: 0x402c542b, getLines: 0x5415, setLines: 0x5416, clearLines: 0x5417, startBreak: 0x5427, endBreak: 0x5428 } as const;

/** `struct termios2`: four words of flags, the line discipline and its characters, two speeds. */
const settingsBytes = 44;
const offset = { control: 8, inputSpeed: 36, outputSpeed: 40 } as const;

/** Of the control flags. */
const control = {
  speed: 0x100f, otherSpeed: 0x1000, inputSpeedShift: 16, size: 0x30, twoStopBits: 0x40, receiver: 0x80, parity: 0x100, odd: 0x200, local: 0x800, stick: 0x4000_0000,
  hardwareFlow: 0x8000_0000,
} as const;

const parityFlags: Readonly<Record<Parity, number>> = {
  none: 0, odd: control.parity | control.odd, even: control.parity, mark: control.parity | control.odd | control.stick, space: control.parity | control.stick,
};

/** Speeds that have a number of their own: programs that show a line's speed know no others. */
const speedCodes: Readonly<Record<number, number>> = {
  50: 1, 75: 2, 110: 3, 134: 4, 150: 5, 200: 6, 300: 7, 600: 8, 1200: 9, 1800: 10, 2400: 11, 4800: 12, 9600: 13, 19_200: 14, 38_400: 15,
  57_600: 0x1001, 115_200: 0x1002, 230_400: 0x1003, 460_800: 0x1004, 921_600: 0x1007,
};

const modem = { dtr: 0x002, rts: 0x004, cts: 0x020, carrier: 0x040, ring: 0x080, dsr: 0x100 } as const;

/** Sets an open serial port's line. False: this system cannot, or the port does not take it. */
export function setLine(descriptor: number, settings: LineSettings): boolean {
  const call = linuxCalls()?.ioctl;
  const bytes = new Uint8Array(settingsBytes);
  if (!call || call(descriptor, request.getSettings, 'void *', bytes) !== 0) return false;
  const view = new DataView(bytes.buffer);
  view.setUint32(offset.control, controlFlags(view.getUint32(offset.control, true), settings), true);
  for (const at of [offset.inputSpeed, offset.outputSpeed]) view.setUint32(at, settings.baud, true);
  if (call(descriptor, request.setSettings, 'void *', bytes) !== 0) return false;
  // A pseudoterminal has neither modem lines nor breaks.
  call(descriptor, settings.break ? request.startBreak : request.endBreak, 'int', 0);
  for (const line of ['dtr', 'rts'] as const) call(descriptor, settings[line] ? request.setLines : request.clearLines, 'void *', Uint8Array.of(modem[line], 0, 0, 0));
  return true;
}

/** The modem lines that the other end of an open serial port sets; null: this system cannot tell, or the port has none, as a pseudoterminal. */
export function readLines(descriptor: number): ModemLines | null {
  const call = linuxCalls()?.ioctl;
  const bytes = new Uint8Array(4);
  if (!call || call(descriptor, request.getLines, 'void *', bytes) !== 0) return null;
  const lines = new DataView(bytes.buffer).getInt32(0, true);
  return { cts: (lines & modem.cts) !== 0, dsr: (lines & modem.dsr) !== 0, ring: (lines & modem.ring) !== 0, carrier: (lines & modem.carrier) !== 0 };
}

/** The guest itself watches the modem lines: flow control and carrier are not the host's. */
function controlFlags(before: number, { baud, dataBits, stopBits, parity }: LineSettings): number {
  const changed = control.speed | (control.speed << control.inputSpeedShift) | control.size | control.twoStopBits | parityFlags.mark | control.hardwareFlow;
  const speed = speedCodes[baud] ?? control.otherSpeed;
  return ((before & ~changed) | speed | ((dataBits - 5) << 4) | (stopBits === 2 ? control.twoStopBits : 0) | parityFlags[parity] | control.receiver | control.local) >>> 0;
}
