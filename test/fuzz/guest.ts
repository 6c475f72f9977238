/**
 * A hostile guest: a multiboot image whose body is random instructions and whose handlers send every exception and interrupt back to
 * another random place. Nothing it does may throw, hang or leave the machine in a state that cannot be described.
 */
import { Assembler } from '../../core/isa/assembler.ts';
import { absolute, at, dword, register as r } from '../../core/isa/registers.ts';
import { rows } from '../../core/isa/table/index.ts';

const BASE = 0x100000;
const BODY = 0x110000;
const BODY_BYTES = 0x10000;
const COUNTER = 0x300000;
const IDT = 0x108000;
const STACK = 0x200000;
const CODE_SELECTOR = 0x10;
const DATA_SELECTOR = 0x18;
const PREFIXES = [0x66, 0xf2, 0xf3, 0x67, 0x64, 0xf0, 0x2e, 0x36];

/** A small generator whose run a seed repeats. */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
}

/** The image, loaded at 1 MiB and entered in flat 32-bit protected mode. */
export function hostileImage(seed: number): Uint8Array {
  const random = randomSource(seed);
  const image = new Uint8Array(BODY - BASE + BODY_BYTES);
  const view = new DataView(image.buffer);
  const a = new Assembler(32, BASE + 0x20);
  a.emit('LIDT', at('idtr'));
  a.emit('MOV', r.eax, r.cr4);
  a.emit('OR', r.eax, 0x600);
  a.emit('MOV', r.cr4, r.eax);
  a.label('handler');
  a.emit('MOV', r.eax, DATA_SELECTOR);
  for (const segment of [r.ds, r.es, r.ss, r.fs, r.gs]) a.emit('MOV', segment, r.ax);
  a.emit('MOV', r.esp, STACK);
  // Where to go on: a hash of how often this was reached.
  a.emit('INC', dword(absolute(COUNTER)));
  a.emit('MOV', r.eax, absolute(COUNTER));
  a.emit('IMUL', r.eax, r.eax, 0x9e3779b1 | 0);
  a.emit('SHR', r.eax, 16);
  a.emit('ADD', r.eax, BODY);
  a.emit('JMP', r.eax);
  a.label('idtr');
  a.data(new Uint8Array([0xff, 0x07, IDT & 0xff, (IDT >> 8) & 0xff, (IDT >> 16) & 0xff, IDT >>> 24]));
  image.set(a.finish(), 0x20);
  multibootHeader(view);
  const handler = a.addressOf('handler');
  for (let vector = 0; vector < 256; vector++) {
    const gate = IDT - BASE + vector * 8;
    view.setUint32(gate, (CODE_SELECTOR << 16) | (handler & 0xffff), true);
    view.setUint32(gate + 4, ((handler & 0xffff0000) | 0x8e00) >>> 0, true);
  }
  randomBody(image.subarray(BODY - BASE), random);
  return image;
}

function multibootHeader(view: DataView): void {
  const flags = 0x10000;
  const end = BODY + BODY_BYTES;
  [0x1badb002, flags, -(0x1badb002 + flags) >>> 0, BASE, BASE, end, end, BASE + 0x20].forEach((word, i) => view.setUint32(i * 4, word, true));
}

/** Mostly real opcodes, so that decoding gets somewhere; operands and some prefixes are noise. */
function randomBody(body: Uint8Array, random: () => number): void {
  let length = 0;
  const put = (byte: number): void => {
    if (length < body.length) body[length++] = byte;
  };
  while (length < body.length) {
    const row = rows[random() % rows.length]!;
    if (random() % 3 === 0) put(PREFIXES[random() % PREFIXES.length]!);
    if (row.map >= 1) put(0x0f);
    if (row.map >= 2) put(row.map === 2 ? 0x38 : 0x3a);
    put(row.byte);
    if (row.hasModrm) put(row.modrm >= 0 ? row.modrm : row.digit >= 0 ? (random() & 0xc7) | (row.digit << 3) : random() & 0xff);
    for (let operands = random() % 6; operands > 0; operands--) put(random() & 0xff);
  }
}

