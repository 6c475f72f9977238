/**
 * The firmware configuration interface of QEMU's machines, which SeaBIOS and OVMF read: items by number, files by name, and a small DMA
 * engine. (The interface is described in QEMU's documentation, specs/fw_cfg.)
 */

import { StateReader } from '../platform/state.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from '../platform/device.ts';
import type { DmaPort } from '../platform/dma.ts';

/** Items with fixed numbers. */
export const fwCfgItem = { signature: 0x00, id: 0x01, ramSize: 0x03, cpus: 0x05, bootMenu: 0x0e, maxCpus: 0x0f, directory: 0x19, firstFile: 0x20 } as const;

/** A file's contents, made when it is selected: tables may depend on what firmware has programmed. The length must stay the same. */
export interface FwCfgFile {
  readonly name: string;
  readonly contents: () => Uint8Array;
}

/** An item, a byte at a time; a DMA address that the guest has begun to write. */
const port = { selector: 0, data: 1, dmaHigh: 4, dmaLow: 8 } as const;
const dmaControl = { error: 1, read: 2, skip: 4, select: 8, write: 16 } as const;
const dmaSignature = [0x51, 0x45, 0x4d, 0x55, 0x20, 0x43, 0x46, 0x47] as const;
const traditionalAndDma = 3;
const nameLength = 56;
/** A guest's transfer is done in pieces: its length is the guest's to choose. */
const pieceBytes = 65536;
const transferLimit = 256 << 20;

export class FwCfg implements Device {
  readonly name = 'fw-cfg';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [{ space: 'port', base: 0x510, length: 12, offset: 0, width: 4 }];
  private readonly items = new Map<number, () => Uint8Array>();
  private readonly dma: DmaPort;
  private selected = 0;
  private position = 0;
  private dmaHigh = 0;
  /** Contents of the selected item; null: to be made. */
  private current: Uint8Array | null = null;

  /** @param files in the order of the directory */
  constructor(dma: DmaPort, items: readonly (readonly [item: number, contents: Uint8Array])[], files: readonly FwCfgFile[]) {
    this.dma = dma;
    this.items.set(fwCfgItem.signature, () => Uint8Array.from(Buffer.from('QEMU')));
    this.items.set(fwCfgItem.id, () => Uint8Array.of(traditionalAndDma, 0, 0, 0));
    for (const [item, contents] of items) this.items.set(item, () => contents);
    files.forEach(({ contents }, index) => this.items.set(fwCfgItem.firstFile + index, contents));
    this.items.set(fwCfgItem.directory, () => directory(files));
  }

  reset(): void {
    this.select(0);
    this.dmaHigh = 0;
  }

  read(offset: number, size: AccessSize): number {
    if (offset === port.data && size === 1) return this.next();
    if (offset < port.dmaHigh) return 0;
    return dmaSignature.slice(offset - port.dmaHigh, offset - port.dmaHigh + size).reduceRight((value, byte) => value * 256 + byte, 0);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset === port.selector && size === 2) this.select(value);
    else if (offset === port.dmaHigh && size === 4) this.dmaHigh = swap32(value);
    else if (offset === port.dmaLow && size === 4) {
      const address = this.dmaHigh * 2 ** 32 + swap32(value);
      this.dmaHigh = 0;
      this.transfer(address);
    }
  }

  saveState(): DeviceState {
    const { selected, position, dmaHigh } = this;
    return { version: this.version, selected, position, dmaHigh };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const selected = reader.uint('selected', 16);
    const position = reader.uint('position', 32);
    const dmaHigh = reader.uint('dmaHigh', 32);
    this.select(selected);
    this.position = position;
    this.dmaHigh = dmaHigh;
  }

  private select(item: number): void {
    this.selected = item;
    this.position = 0;
    this.current = null;
  }

  private get contents(): Uint8Array {
    this.current ??= this.items.get(this.selected)?.() ?? new Uint8Array(0);
    return this.current;
  }

  private next(): number {
    const value = this.contents[this.position] ?? 0;
    this.position = Math.min(this.position + 1, 0xffffffff);
    return value;
  }

  /** Obeys a control structure in guest memory: big-endian control, length, address. Its control word becomes the result. */
  private transfer(address: number): void {
    const structure = new Uint8Array(16);
    if (!this.dma.read(address, structure)) return;
    const view = new DataView(structure.buffer);
    const control = view.getUint32(0);
    if ((control & dmaControl.select) !== 0) this.select(control >>> 16);
    const done = this.copy(control, view.getUint32(8) * 2 ** 32 + view.getUint32(12), view.getUint32(4));
    this.dma.write32(address, done ? 0 : swap32(dmaControl.error));
  }

  private copy(control: number, address: number, length: number): boolean {
    // Nothing here can be written by a guest.
    if ((control & dmaControl.write) !== 0 && (control & dmaControl.read) === 0) return false;
    if ((control & dmaControl.read) !== 0) {
      if (length > transferLimit) return false;
      for (let done = 0; done < length; done += pieceBytes) {
        const piece = new Uint8Array(Math.min(pieceBytes, length - done));
        piece.set(this.contents.subarray(this.position + done, this.position + done + piece.length));
        if (!this.dma.write(address + done, piece)) return false;
      }
    } else if ((control & dmaControl.skip) === 0) return true;
    this.position = Math.min(this.position + length, 0xffffffff);
    return true;
  }
}

function swap32(value: number): number {
  return ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}

/** A big-endian count, then size, item and name of each file. */
function directory(files: readonly FwCfgFile[]): Uint8Array {
  const data = new Uint8Array(4 + files.length * 64);
  const view = new DataView(data.buffer);
  view.setUint32(0, files.length);
  files.forEach(({ name, contents }, index) => {
    const at = 4 + index * 64;
    view.setUint32(at, contents().length);
    view.setUint16(at + 4, fwCfgItem.firstFile + index);
    data.set(Buffer.from(name.slice(0, nameLength - 1), 'latin1'), at + 8);
  });
  return data;
}

/** A number as the little-endian bytes that firmware reads. */
export function fwCfgNumber(value: number, bytes: 1 | 2 | 4 | 8): Uint8Array {
  const data = new Uint8Array(8);
  new DataView(data.buffer).setBigUint64(0, BigInt(value), true);
  return data.subarray(0, bytes);
}
