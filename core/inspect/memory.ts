/** Memory as a hexadecimal dump, code as instructions, and a page walk as a table. */
import { ContractError } from '../contract/errors.ts';
import type { InspectSection } from '../contract/inspect.ts';
import type { Processor } from '../cpu/processor.ts';
import { CODE_SIZE, CS, RIP, SEGMENTS, SEGMENT_SIZE, SEG_BASE } from '../cpu/layout.ts';
import { disassemble } from '../isa/disassembler.ts';
import { readMemory } from './guestMemory.ts';
import type { AddressSpace } from './guestMemory.ts';
import { GUEST_PHYSICAL, walkLinear } from './pageWalk.ts';
import { hex, section, wideHex } from './tables.ts';

const LINE = 16;
const CODE_SIZES = [16, 32, 64] as const;
const INSTRUCTION_BYTES = 15;
/** Bytes before RIP from which disassembly tries to fall into step, and instructions before it that are shown. */
const LEAD_BYTES = 48;
const LEAD_INSTRUCTIONS = 6;

/** @throws ContractError `bad-field` when nothing is there */
export function memorySection(cpu: Processor, space: AddressSpace, address: bigint, length: number, line = LINE): InspectSection {
  const bytes = readMemory(cpu, space, address, length);
  if (bytes.length === 0) throw nothingAt(space, address);
  const rows: string[][] = [];
  for (let at = 0; at < bytes.length; at += line) {
    const part = bytes.subarray(at, at + line);
    rows.push([wideHex(BigInt.asUintN(64, address + BigInt(at))), [...part].map((byte) => byte.toString(16).padStart(2, '0')).join(' '), textOf(part)]);
  }
  const note = bytes.length < length ? `Memory ends after ${bytes.length} bytes: what follows is not mapped, or a device.` : '';
  return section(`Memory at ${hex(address)} (${space})`, ['Address', 'Bytes', 'Text'], rows, note);
}

function textOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('');
}

function nothingAt(space: AddressSpace, address: bigint): ContractError {
  return new ContractError('bad-field', `There is no memory at the ${space} address ${hex(address)}.`, 'A walk of the address, or the memory map, says why.', 'address');
}

/** Instructions from an address on; null: around RIP. @throws ContractError `bad-field` when nothing is there */
export function codeSection(cpu: Processor, address: bigint | null, count: number): InspectSection {
  const { view } = cpu;
  const code = CODE_SIZES[view.getUint32(CODE_SIZE, true)] ?? 64;
  const base = code === 64 ? 0n : view.getBigUint64(SEGMENTS + CS * SEGMENT_SIZE + SEG_BASE, true);
  const rip = BigInt.asUintN(64, base + view.getBigUint64(RIP, true));
  const start = address ?? leadingStart(cpu, rip, code);
  const bytes = readMemory(cpu, 'virtual', start, count * INSTRUCTION_BYTES);
  if (bytes.length === 0) throw nothingAt('virtual', start);
  const rows: string[][] = [];
  for (let at = 0, n = 0; at < bytes.length && n < count; n++) {
    const here = BigInt.asUintN(64, start + BigInt(at));
    const { length, text } = disassemble(bytes, at, code, here);
    rows.push([here === rip ? '>' : '', wideHex(here), Buffer.from(bytes.subarray(at, at + length)).toString('hex'), text]);
    at += length;
  }
  return section(`Code at ${hex(start)}, ${code} bits`, ['', 'Address', 'Bytes', 'Instruction'], rows);
}

/** Where to begin so that instructions end exactly at RIP; RIP itself when none is found. x86 code cannot be read backwards. */
function leadingStart(cpu: Processor, rip: bigint, code: 16 | 32 | 64): bigint {
  for (let lead = LEAD_BYTES; lead > 0; lead--) {
    const bytes = readMemory(cpu, 'virtual', BigInt.asUintN(64, rip - BigInt(lead)), lead);
    const starts: number[] = [];
    let at = 0;
    while (at < bytes.length) {
      const { length, row } = disassemble(bytes, at, code);
      if (!row) break;
      starts.push(at);
      at += length;
    }
    if (bytes.length === lead && at === lead) return BigInt.asUintN(64, rip - BigInt(lead - (starts.at(-LEAD_INSTRUCTIONS) ?? 0)));
  }
  return rip;
}

export function walkSection(cpu: Processor, address: bigint): InspectSection {
  const { mode, steps, physical, pageBytes, writable, user, executable, fault } = walkLinear(cpu, address);
  const rows = steps.map(({ level, at, entry, bits }) => [level, at === null ? '' : hex(at), level === GUEST_PHYSICAL ? '' : wideHex(entry), bits.join(' ')]);
  const allows = [user ? 'user' : 'supervisor', 'read', writable ? 'write' : '', executable ? 'execute' : ''].filter((word) => word !== '').join(' ');
  const result = physical === null ? ['fault', '', '', fault] : ['result', hex(physical), `${pageBytes >= 0x40000000 ? '1 GiB' : pageBytes >= 0x100000 ? `${pageBytes / 0x100000} MiB` : '4 KiB'} page`, allows];
  return section(`Walk of ${hex(address)}: ${mode}`, ['Level', 'At', 'Entry', 'Bits set'], [...rows, result]);
}
