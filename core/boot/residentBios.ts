/**
 * What remains of firmware where an image is booted directly: interrupt vectors of real-address mode with handlers that do the least, and the
 * reset vector. A processor that INIT restarts goes where the CMOS shutdown code says, as in every PC since the AT, or resets the machine.
 */
import type { MemoryWrite } from './loader.ts';

/** The page that shows both below 1 MiB and below 4 GiB. */
export const residentPage = 0xff000;
const segment = 0xf000;

/** Offsets in the segment; those of the timer and of the dummy are where IBM's BIOS had them. */
const entry = { reset: 0xfe00, timer: 0xfea5, masterInterrupt: 0xff00, slaveInterrupt: 0xff10, dummy: 0xff53, resetVector: 0xfff0 } as const;

/** 16-bit code. */
const CODE: readonly (readonly [number, readonly number[]])[] = [
  [entry.reset, [
    0xfa, // cli
    0xb0, 0x8f, 0xe6, 0x70, 0xe4, 0x71, // mov al, 8fh; out 70h, al; in al, 71h: the shutdown code
    0x3c, 0x05, 0x74, 0x0d, 0x3c, 0x0a, 0x74, 0x09, // 5 and 0ah: je go on at 40:67
    0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xf4, 0xeb, 0xfd, // mov dx, 0cf9h; mov al, 6; out dx, al; hlt; jmp $-1
    0x31, 0xc0, 0x8e, 0xd8, 0xff, 0x2e, 0x67, 0x04, // xor ax, ax; mov ds, ax; jmp far [467h]
  ]],
  [entry.timer, [
    0x50, 0x1e, 0xb8, 0x40, 0x00, 0x8e, 0xd8, // push ax; push ds; mov ax, 40h; mov ds, ax
    0x66, 0xff, 0x06, 0x6c, 0x00, // inc dword [6ch]: ticks since midnight
    0xb0, 0x20, 0xe6, 0x20, 0x1f, 0x58, 0xcf, // mov al, 20h; out 20h, al; pop ds; pop ax; iret
  ]],
  [entry.masterInterrupt, [0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf]], // push ax; mov al, 20h; out 20h, al; pop ax; iret
  [entry.slaveInterrupt, [0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf]], // the same, out 0a0h, al before
  [entry.dummy, [0xcf]], // iret
  [entry.resetVector, [0xea, entry.reset & 0xff, entry.reset >> 8, segment & 0xff, segment >> 8]], // jmp f000:fe00
];

/** 4 KB that end at the reset vector. */
export function residentCode(): Uint8Array {
  const page = new Uint8Array(0x1000);
  for (const [offset, code] of CODE) page.set(code, offset & 0xfff);
  return page;
}

function handlerOf(vector: number): number {
  if (vector === 0x08) return entry.timer;
  if (vector > 0x08 && vector < 0x10) return entry.masterInterrupt;
  return vector >= 0x70 && vector < 0x78 ? entry.slaveInterrupt : entry.dummy;
}

/** The vector table and the code for RAM. */
export function residentBios(): readonly MemoryWrite[] {
  const vectors = new DataView(new ArrayBuffer(0x400));
  for (let vector = 0; vector < 256; vector++) {
    vectors.setUint16(vector * 4, handlerOf(vector), true);
    vectors.setUint16(vector * 4 + 2, segment, true);
  }
  return [{ address: 0, data: new Uint8Array(vectors.buffer) }, { address: residentPage, data: residentCode() }];
}
