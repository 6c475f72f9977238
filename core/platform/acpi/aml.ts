/** A small writer of ACPI Machine Language: each function returns the bytes of one term. @acpi 20.2 */

type Bytes = readonly number[];

const op = {
  zero: 0x00, one: 0x01, name: 0x08, byte: 0x0a, word: 0x0b, dword: 0x0c, string: 0x0d, qword: 0x0e, scope: 0x10, buffer: 0x11, package: 0x12,
  method: 0x14, dualName: 0x2e, multiName: 0x2f, extended: 0x5b, device: 0x82, arg0: 0x68, store: 0x70, and: 0x7b, or: 0x7d,
  createDwordField: 0x8a, not: 0x92, equal: 0x93, if: 0xa0, else: 0xa1, return: 0xa4, root: 0x5c,
} as const;

function littleEndian(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, index) => Math.floor(value / 2 ** (8 * index)) % 256);
}

/** One to four bytes that give the length of themselves and what follows. */
function packageLength(body: number): number[] {
  if (body + 1 < 0x40) return [body + 1];
  const extra = body + 2 < 2 ** 12 ? 1 : body + 3 < 2 ** 20 ? 2 : 3;
  const total = body + 1 + extra;
  return [(extra << 6) | (total & 15), ...littleEndian(Math.floor(total / 16), extra)];
}

function sized(opcode: Bytes, body: Bytes): number[] {
  return [...opcode, ...packageLength(body.length), ...body];
}

/** A path such as `\_SB.PCI0`; segments shorter than four characters are padded. */
export function path(text: string): number[] {
  const rooted = text.startsWith('\\');
  const segments = text.slice(rooted ? 1 : 0).split('.').filter(segment => segment !== '');
  const prefix = segments.length === 2 ? [op.dualName] : segments.length > 2 ? [op.multiName, segments.length] : [];
  const letters = segments.flatMap(segment => [...segment.padEnd(4, '_')].map(letter => letter.charCodeAt(0)));
  return [...(rooted ? [op.root] : []), ...prefix, ...(segments.length === 0 ? [0] : letters)];
}

/** An integer in its shortest form. */
export function integer(value: number): number[] {
  if (value === 0) return [op.zero];
  if (value === 1) return [op.one];
  if (value < 0x100) return [op.byte, value];
  if (value < 0x10000) return [op.word, ...littleEndian(value, 2)];
  if (value < 2 ** 32) return [op.dword, ...littleEndian(value, 4)];
  return [op.qword, ...littleEndian(value, 8)];
}

export function string(text: string): number[] {
  return [op.string, ...[...text].map(letter => letter.charCodeAt(0)), 0];
}

/** A compressed EISA identifier, three letters and four hexadecimal digits. */
export function eisaId(text: string): number[] {
  const letter = (index: number): number => text.charCodeAt(index) - 0x40;
  const letters = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const product = Number.parseInt(text.slice(3), 16);
  return [op.dword, letters >> 8, letters & 0xff, product >> 8, product & 0xff];
}

export function name(text: string, value: Bytes): number[] {
  return [op.name, ...path(text), ...value];
}

export function scope(text: string, ...body: readonly Bytes[]): number[] {
  return sized([op.scope], [...path(text), ...body.flat()]);
}

export function device(text: string, ...body: readonly Bytes[]): number[] {
  return sized([op.extended, op.device], [...path(text), ...body.flat()]);
}

/** A method; `args` is how many arguments it takes. */
export function method(text: string, args: number, ...body: readonly Bytes[]): number[] {
  return sized([op.method], [...path(text), args, ...body.flat()]);
}

export function packageOf(...elements: readonly Bytes[]): number[] {
  return sized([op.package], [elements.length, ...elements.flat()]);
}

export function buffer(data: Bytes): number[] {
  return sized([op.buffer], [...integer(data.length), ...data]);
}

export function returns(value: Bytes): number[] {
  return [op.return, ...value];
}

export function ifTrue(condition: Bytes, ...body: readonly Bytes[]): number[] {
  return sized([op.if], [...condition, ...body.flat()]);
}

export function otherwise(...body: readonly Bytes[]): number[] {
  return sized([op.else], body.flat());
}

/** Argument 0 to 6 of the method. */
export function argument(index: number): number[] {
  return [op.arg0 + index];
}

export function equal(left: Bytes, right: Bytes): number[] {
  return [op.equal, ...left, ...right];
}

export function not(value: Bytes): number[] {
  return [op.not, ...value];
}

/** Names four bytes of a buffer. */
export function dwordField(source: Bytes, offset: number, field: string): number[] {
  return [op.createDwordField, ...source, ...integer(offset), ...path(field)];
}

/** Leaves only the bits of `mask` in a named integer. */
export function keepBits(target: string, mask: number): number[] {
  return [op.and, ...path(target), ...integer(mask), ...path(target)];
}

export function setBits(target: string, bits: number): number[] {
  return [op.or, ...path(target), ...integer(bits), ...path(target)];
}

/** A UUID as a buffer: its first three groups are little-endian. */
export function uuid(text: string): number[] {
  const groups = text.split('-').map(group => [...Buffer.from(group, 'hex')]);
  return buffer(groups.flatMap((bytes, index) => (index < 3 ? bytes.reverse() : bytes)));
}

export function storeArgument0(target: string): number[] {
  return [op.store, op.arg0, ...path(target)];
}

// ---- Resource descriptors, ACPI 6.4 ---------------------------------------------------------------------------------

/** An interrupt of the 8259A, edge-triggered. */
export function irqResource(irq: number): number[] {
  return [0x22, ...littleEndian(1 << irq, 2)];
}

/** Ports at a fixed place. */
export function portResource(base: number, length: number): number[] {
  return [0x47, 1, ...littleEndian(base, 2), ...littleEndian(base, 2), 1, length];
}

/** Memory at a fixed place, read-write. */
export function memoryResource(base: number, length: number): number[] {
  return [0x86, 9, 0, 1, ...littleEndian(base, 4), ...littleEndian(length, 4)];
}

const addressSpace = { memory: 0, port: 1, bus: 2 } as const;
/** Minimum and maximum are fixed; the bridge passes the range on. */
const producedFixed = 0x0c;

function wordWindow(kind: number, flags: number, first: number, last: number): number[] {
  const words = [0, first, last, 0, last - first + 1].flatMap(value => littleEndian(value, 2));
  return [0x88, 13, 0, kind, producedFixed, flags, ...words];
}

/** Bus numbers behind a bridge. */
export function busWindow(first: number, last: number): number[] {
  return wordWindow(addressSpace.bus, 0, first, last);
}

/** Ports behind a bridge. */
export function portWindow(first: number, last: number): number[] {
  return wordWindow(addressSpace.port, 3, first, last);
}

/** Memory behind a bridge, read-write. */
export function memoryWindow(first: number, last: number): number[] {
  const words = [0, first, last, 0, last - first + 1].flatMap(value => littleEndian(value, 4));
  return [0x87, 23, 0, addressSpace.memory, producedFixed, 1, ...words];
}

/** A resource template: descriptors and the end tag, whose checksum of zero is valid by definition. */
export function resources(...descriptors: readonly Bytes[]): number[] {
  return buffer([...descriptors.flat(), 0x79, 0]);
}
