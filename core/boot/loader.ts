/** What every boot loader produces: bytes for guest RAM and the state in which the first vCPU starts. */

/** An image, an argument or the memory does not fit. The message says what is wrong with it and what to do. */
export class BootError extends Error {
  override readonly name = 'BootError';
}

/** Guest RAM: one run from guest-physical address 0. */
export interface GuestMemory {
  readonly bytes: Uint8Array;
}

/** Bytes to put at a guest-physical address. */
export interface MemoryWrite {
  readonly address: number;
  readonly data: Uint8Array;
}

/** A segment register with its hidden part. `access` has the layout of the VMCS access rights. @sdm 3C table 25-2 */
export interface SegmentState {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  readonly access: number;
}

/** The first vCPU at the image's entry point. Registers that are not named are zero; RFLAGS is 2. */
export interface InitialVcpuState {
  readonly mode: 'real16' | 'protected32' | 'long64';
  readonly rip: number;
  readonly rsp: number;
  readonly rax: number;
  readonly rbx: number;
  readonly rsi: number;
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
  readonly gdt: { readonly base: number; readonly limit: number };
  readonly idt: { readonly base: number; readonly limit: number };
  readonly cs: SegmentState;
  /** DS, ES and SS alike; FS and GS too. */
  readonly data: SegmentState;
  readonly tr: SegmentState;
  readonly ldtr: SegmentState;
}

export interface LoadedImage {
  readonly writes: readonly MemoryWrite[];
  readonly vcpu: InitialVcpuState;
}

/** What the loaders are told about the machine. */
export interface BootPlan {
  /** Guest RAM in bytes. */
  readonly memoryBytes: number;
  readonly memoryMap: readonly MemoryMapEntry[];
  /** Guest-physical address of the ACPI root pointer. */
  readonly rsdpAddress: number;
  /** Its bytes. */
  readonly rsdp: Uint8Array;
  /** A display that is in a linear mode already. */
  readonly frameBuffer?: FrameBuffer;
}

/** Pixels of 32 bits, blue lowest, row by row. */
export interface FrameBuffer {
  readonly address: number;
  readonly width: number;
  readonly height: number;
  /** Bytes from row to row. */
  readonly pitch: number;
  /** Video memory in bytes. */
  readonly length: number;
}

/** An entry of the e820 map; the types are those of ACPI's table of address range types. */
export interface MemoryMapEntry {
  readonly base: number;
  readonly length: number;
  readonly type: number;
}

export const memoryType = { usable: 1, reserved: 2, acpiReclaimable: 3, acpiNvs: 4 } as const;

/** Puts an image into guest RAM. Call with writes that were planned for this amount of RAM. */
export function applyWrites(memory: GuestMemory, writes: readonly MemoryWrite[]): void {
  for (const { address, data } of writes) {
    if (address + data.length <= memory.bytes.length) continue;
    throw new BootError(`${data.length} bytes at 0x${address.toString(16)} do not fit into the guest's memory`);
  }
  for (const { address, data } of writes) memory.bytes.set(data, address);
}

/** Bytes as people read them. */
export function sizeText(bytes: number): string {
  return bytes < 4096 ? `${bytes} bytes` : bytes < 1 << 20 ? `${Math.ceil(bytes / 1024)} KB` : `${Math.ceil((bytes / (1 << 20)) * 10) / 10} MB`;
}

export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

export function alignDown(value: number, alignment: number): number {
  return Math.floor(value / alignment) * alignment;
}

/** Where each of several strings begins when they lie one behind the other from an address on, and where they end. */
export function placesOf(strings: readonly Uint8Array[], address: number): { readonly places: readonly number[]; readonly end: number } {
  let end = address;
  const places = strings.map(({ length }) => {
    const place = end;
    end += length;
    return place;
  });
  return { places, end };
}

/** A command line as the zero-terminated bytes a kernel reads. */
export function commandLineBytes(text: string, what: string): Uint8Array {
  if (text.includes('\0')) throw new BootError(`${what} contains a zero character`);
  return new TextEncoder().encode(`${text}\0`);
}
