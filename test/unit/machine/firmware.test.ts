import { beforeEach, describe, expect, it } from 'vitest';
import { BootError } from '../../../core/boot/loader.ts';
import { Flash } from '../../../core/devices/flash.ts';
import { ManualTime } from '../../doubles/manualTime.ts';
import { Pc } from '../../../core/machine/pc.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { PciFunction } from '../../../core/platform/pci/function.ts';
import { bootOrder } from '../../../core/machine/bootOrder.ts';
import { checkFirmware } from '../../../core/machine/firmware.ts';
import { flatTopology } from '../../../core/platform/topology.ts';

const memoryBytes = 32 << 20;

describe('firmware', () => {
  let memory: Uint8Array;
  let rom: Uint8Array;
  let kinds: [number, number, string][];
  let pc: Pc;

  beforeEach(() => {
    memory = new Uint8Array(memoryBytes);
    rom = new Uint8Array(16 << 20);
    kinds = [];
    pc = new Pc({
      memory, rom, topology: flatTopology(2), clock: new VirtualClock(new ManualTime()), physicalAddressBits: 40, wallMs: Date.UTC(2026, 0, 1), keyboard: false,
      firmware: { code: new Uint8Array(0x40000).map((_, index) => index >> 12) }, pageKinds: (...range) => kinds.push(range), serialOutput: () => {},
    });
  });

  const select = (item: number): void => pc.ports.write(0x510, 2, item);
  const bytes = (count: number): number[] => Array.from({ length: count }, () => pc.ports.read(0x511, 1));
  const big = (): number => bytes(4).reduce((value, byte) => value * 256 + byte, 0);

  function directory(): Map<string, { item: number; size: number }> {
    select(0x19);
    return new Map(Array.from({ length: big() }, () => {
      const size = big();
      const [high = 0, low = 0] = bytes(4);
      const name = Buffer.from(bytes(56)).toString('latin1').replace(/\0.*/s, '');
      return [name, { item: high * 256 + low, size }];
    }));
  }

  function file(name: string): Buffer {
    const row = directory().get(name);
    if (!row) throw new Error(`no file ${name}`);
    select(row.item);
    return Buffer.from(bytes(row.size));
  }

  it('starts at the reset vector, with its end shown below 1 MiB', () => {
    const vcpu = pc.bootFirmware();
    expect([vcpu.mode, vcpu.cs.base + vcpu.rip]).toEqual(['real16', 0xfffffff0]);
    expect([rom.at(-1), memory[0xfffff], memory[0xe0000]]).toEqual([0x3f, 0x3f, 0x20]);
    expect(kinds).toContainEqual([0xfffc0000, 0x40000, 'rom']);
  });

  it('nothing is set up as a direct boot has it', () => {
    pc.ports.write(0xcf8, 4, 0x80000060);
    expect(pc.ports.read(0xcfc, 4), 'PCIEXBAR').toBe(0);
  });

  it('shadow segments turn into RAM by the PAM registers', () => {
    pc.ports.write(0xcf8, 4, 0x80000090);
    pc.ports.write(0xcfc, 1, 0x30);
    expect(kinds.at(-1)).toEqual([0xf0000, 0x10000, 'ram']);
    pc.reset();
    expect(kinds).toContainEqual([0xf0000, 0x10000, 'rom']);
  });

  it('the configuration interface tells its signature, its version, memory and processors', () => {
    select(0);
    expect(Buffer.from(bytes(4)).toString()).toBe('QEMU');
    select(1);
    expect(bytes(4)).toEqual([3, 0, 0, 0]);
    select(5);
    expect(bytes(3), 'and zeros behind an item').toEqual([2, 0, 0]);
    expect(file('etc/e820').readBigUInt64LE(8)).toBe(BigInt(memoryBytes));
  });

  it('its DMA engine reads an item into guest memory, and refuses to write one', () => {
    const { item, size } = directory().get('etc/e820') ?? { item: 0, size: 0 };
    const view = new DataView(memory.buffer);
    const ask = (control: number): number => {
      view.setUint32(0x1000, control);
      view.setUint32(0x1004, size);
      view.setBigUint64(0x1008, 0x2000n);
      pc.ports.write(0x514, 4, 0);
      pc.ports.write(0x518, 4, 0x00100000);
      return view.getUint32(0x1000);
    };
    expect(ask(((item << 16) | 8 | 2) >>> 0)).toBe(0);
    expect(view.getBigUint64(0x2008, true)).toBe(BigInt(memoryBytes));
    expect(ask(16)).toBe(1);
  });

  it('tables placed by the loader commands have right checksums and addresses', () => {
    const parts = new Map<string, { base: number; data: Buffer }>();
    const commands = file('etc/table-loader');
    const name = (at: number): string => commands.toString('latin1', at, at + 56).replace(/\0.*/s, '');
    for (let at = 0; at < commands.length; at += 128) {
      const part = parts.get(name(at + 4));
      switch (commands.readUInt32LE(at)) {
        case 1:
          parts.set(name(at + 4), { base: commands[at + 64] === 2 ? 0xf0000 : 0x1000000, data: file(name(at + 4)) });
          break;
        case 2: {
          const offset = commands.readUInt32LE(at + 116);
          part?.data.writeUInt32LE(part.data.readUInt32LE(offset) + (parts.get(name(at + 60))?.base ?? NaN), offset);
          break;
        }
        case 3: {
          const [offset = 0, start = 0, length = 0] = [60, 64, 68].map(field => commands.readUInt32LE(at + field));
          const sum = part?.data.subarray(start, start + length).reduce((total, byte) => total + byte, 0) ?? 0;
          part?.data.writeUInt8(-sum & 0xff, offset);
          break;
        }
        default:
          expect(commands.readUInt32LE(at)).toBe(0);
      }
    }
    const rsdp = parts.get('etc/acpi/rsdp')?.data;
    const tables = parts.get('etc/acpi/tables')?.data;
    if (!rsdp || !tables) throw new Error('not allocated');
    const table = (address: number): Buffer => tables.subarray(address - 0x1000000, address - 0x1000000 + tables.readUInt32LE(address - 0x1000000 + 4));
    const xsdt = table(Number(rsdp.readBigUInt64LE(24)));
    const names = Array.from({ length: (xsdt.length - 36) / 8 }, (_, index) => table(Number(xsdt.readBigUInt64LE(36 + index * 8))));
    expect(names.map(entry => entry.toString('latin1', 0, 4))).toEqual(['FACP', 'APIC', 'HPET']);
    for (const entry of [xsdt, ...names]) expect(entry.reduce((sum, byte) => sum + byte, 0) & 0xff, entry.toString('latin1', 0, 4)).toBe(0);
    expect(table(Number(names[0]?.readBigUInt64LE(140))).toString('latin1', 0, 4)).toBe('DSDT');
  });

  it('refuses images that cannot stand below 4 GB', () => {
    expect(() => checkFirmware({ code: new Uint8Array(1000) })).toThrow(BootError);
    expect(() => checkFirmware({ code: new Uint8Array(17 << 20) })).toThrow(/larger than/);
  });
});

describe('flash', () => {
  let flash: Flash;
  let changes: number;

  beforeEach(() => {
    changes = 0;
    flash = new Flash(0xffc00000, new Uint8Array(0x4000).fill(0xff));
    flash.onChange = () => void (changes += 1);
  });

  it('tells itself from RAM and from ROM as firmware probes it', () => {
    flash.write(0, 1, 0x50);
    expect(flash.read(0, 1), 'no RAM').toBe(0xff);
    flash.write(0, 1, 0x70);
    expect(flash.read(0, 1), 'no ROM').toBe(0);
    flash.write(0, 1, 0xff);
    expect(flash.read(0, 4)).toBe(0xffffffff);
  });

  it('programming clears bits, erasing sets those of a block', () => {
    const program = (at: number, value: number): void => {
      flash.write(at, 1, 0x10);
      flash.write(at, 1, value);
    };
    program(0x1234, 0xf0);
    program(0x1234, 0x3c);
    expect(flash.read(0x1234, 1), 'the status').toBe(0x80);
    flash.write(0, 1, 0xff);
    expect(flash.read(0x1234, 1)).toBe(0x30);
    program(0x2000, 0);
    flash.write(0x1fff, 1, 0x20);
    flash.write(0x1fff, 1, 0xd0);
    flash.write(0, 1, 0xff);
    expect([flash.read(0x1234, 1), flash.read(0x2000, 1), changes]).toEqual([0xff, 0, 4]);
  });

  it('programs a buffer at once, when confirmed', () => {
    for (const value of [0xe8, 1, 0x11, 0x22]) flash.write(value === 0x22 ? 0x101 : 0x100, 1, value);
    flash.write(0x100, 1, 0xd0);
    flash.write(0, 1, 0xff);
    expect(flash.read(0x100, 2)).toBe(0x2211);
  });
});

describe('boot order', () => {
  const card = (classCode: number) => new PciFunction('card', { vendor: 0x1af4, device: 0x1042, classCode, revision: 1 });

  it('is that of the configuration; what is neither storage nor network has no place in it', () => {
    const slots = new Map([[card(0x010802), 4], [card(0x020000), 3], [card(0x030000), 6], [card(0x010000), 10], [card(0x010601), 5]]);
    const places = [...slots.keys()].map(fn => ({ fn, port: 1 }));
    expect(bootOrder(places, fn => ({ bridges: slots.get(fn) === 4 ? '/pci-bridge@1c,1' : '', device: (slots.get(fn) ?? 0).toString(16) }))).toEqual([
      '/pci@i0cf8/pci-bridge@1c,1/pci1af4,1042@4/namespace@1,0', '/pci@i0cf8/ethernet@3/ethernet-phy@0', '/pci@i0cf8/scsi@a/disk@0,0', '/pci@i0cf8/pci1af4,1042@5/drive@1/disk@0',
    ]);
  });
});
