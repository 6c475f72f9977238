/** The shared libraries that a program needs, from its ELF dynamic section. */
import { readFileSync } from 'node:fs';

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NEEDED = 1;
const DT_STRTAB = 5;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

/** A 64-bit little-endian ELF file: names of the libraries it asks for, and of its loader. */
export function needed(file: string): readonly string[] {
  const bytes = readFileSync(file);
  const word = (at: number): number => Number(bytes.readBigUInt64LE(at));
  const segments = Array.from({ length: bytes.readUInt16LE(56) }, (_, i): Segment => {
    const at = word(32) + i * bytes.readUInt16LE(54);
    return { type: bytes.readUInt32LE(at), offset: word(at + 8), address: word(at + 16), size: word(at + 32) };
  });
  const text = (at: number): string => bytes.toString('latin1', at, bytes.indexOf(0, at));
  const interpreter = segments.filter(({ type }) => type === PT_INTERP).map(({ offset }) => text(offset));
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  if (!dynamic) return interpreter;
  const entries = Array.from({ length: dynamic.size / 16 }, (_, i) => ({ tag: word(dynamic.offset + i * 16), value: word(dynamic.offset + i * 16 + 8) }));
  const table = entries.find(({ tag }) => tag === DT_STRTAB)?.value ?? 0;
  const holder = segments.find(({ type, address, size }) => type === PT_LOAD && table >= address && table < address + size);
  const strings = table - (holder?.address ?? 0) + (holder?.offset ?? 0);
  return [...interpreter, ...entries.filter(({ tag }) => tag === DT_NEEDED).map(({ value }) => text(strings + value))];
}
