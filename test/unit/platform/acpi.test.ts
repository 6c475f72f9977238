import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { buildAcpiTables } from '../../../core/platform/acpi/tables.ts';
import { buildSmbios } from '../../../core/platform/smbios.ts';
import { eisaId, integer, packageOf, path } from '../../../core/platform/acpi/aml.ts';
import { flatTopology } from '../../../core/platform/topology.ts';

const ecam = { base: 0xe0000000, length: 256 << 20 };
const pciMemory = [{ base: 0xc0000000, end: 0xe0000000 }, { base: 0xf0000000, end: 0xfec00000 }];
const { address, data } = buildAcpiTables({ topology: flatTopology(2), keyboard: false, ecam, pciMemory });
const view = new DataView(data.buffer, data.byteOffset, data.byteLength);

function sum(bytes: Uint8Array): number {
  return bytes.reduce((total, byte) => total + byte, 0) & 0xff;
}

function at(guestAddress: number): Uint8Array {
  const offset = guestAddress - address;
  return data.subarray(offset, offset + view.getUint32(offset + 4, true));
}

function signature(table: Uint8Array): string {
  return String.fromCharCode(...table.subarray(0, 4));
}

function pointers(table: Uint8Array, width: number): readonly number[] {
  const offset = table.byteOffset - data.byteOffset;
  return Array.from({ length: (table.length - 36) / width }, (_, index) => view.getUint32(offset + 36 + index * width, true));
}

const rsdt = at(view.getUint32(16, true));
const xsdt = at(view.getUint32(24, true));
const tables = new Map(pointers(xsdt, 8).map(place => [signature(at(place)), at(place)]));

function table(name: string): Uint8Array {
  const found = tables.get(name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
}

function word(name: string, offset: number): number {
  return new DataView(table(name).buffer, table(name).byteOffset).getUint32(offset, true);
}

const dsdt = at(word('FACP', 40));

describe('ACPI tables', () => {
  it('the root pointer lies where guests search, with both checksums right', () => {
    expect(address % 16).toBe(0);
    expect(address).toBeGreaterThanOrEqual(0xe0000);
    expect(String.fromCharCode(...data.subarray(0, 8))).toBe('RSD PTR ');
    expect([sum(data.subarray(0, 20)), sum(data.subarray(0, 36))]).toEqual([0, 0]);
  });

  it('RSDT and XSDT name the same tables, and every checksum is right', () => {
    expect(pointers(rsdt, 4)).toEqual(pointers(xsdt, 8));
    expect([...tables.keys()]).toEqual(['FACP', 'APIC', 'HPET', 'MCFG']);
    for (const bytes of [rsdt, xsdt, dsdt, ...tables.values()]) expect(sum(bytes), signature(bytes)).toBe(0);
  });

  it('FACS is aligned to 64 bytes', () => {
    expect(word('FACP', 36) % 64).toBe(0);
    expect(signature(at(word('FACP', 36)))).toBe('FACS');
  });

  it('the MADT has a local APIC for each processor and the overrides of interrupts 0 and 9', () => {
    const entries: number[][] = [];
    const madt = table('APIC');
    for (let offset = 44; offset < madt.length; offset += madt[offset + 1] ?? 1) entries.push([...madt.subarray(offset, offset + (madt[offset + 1] ?? 1))]);
    expect(entries.filter(([type]) => type === 0).map(entry => entry[3])).toEqual([0, 1]);
    expect(entries).toContainEqual([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    expect(entries).toContainEqual([2, 10, 0, 9, 9, 0, 0, 0, 13, 0]);
    expect(entries).toContainEqual([4, 6, 0xff, 0, 0, 1]);
  });

  it('fits 64 processors', () => {
    expect(() => buildAcpiTables({ topology: flatTopology(64), keyboard: true, ecam, pciMemory })).not.toThrow();
  });

  it('the ACPI compiler takes the DSDT apart and puts it together again without complaint', context => {
    if (spawnSync('iasl', ['-v']).error !== undefined) context.skip('iasl (Debian package acpica-tools) is not on this machine');
    const folder = mkdtempSync(join(tmpdir(), 'vanderpool-acpi-'));
    try {
      for (const [name, bytes] of [['DSDT', dsdt], ...tables] as const) {
        writeFileSync(join(folder, `${name}.aml`), bytes);
        const output = execFileSync('iasl', ['-d', `${name}.aml`], { cwd: folder, encoding: 'utf8', stdio: 'pipe' });
        expect(output, name).not.toMatch(/error|incorrect checksum/i);
      }
      const source = readFileSync(join(folder, 'DSDT.dsl'), 'utf8');
      for (const device of ['PCI0', 'COM1', 'COM4', 'HPET', 'C001']) expect(source).toMatch(new RegExp(`Device \\(${device}\\)`));
      expect(execFileSync('iasl', ['-tc', 'DSDT.dsl'], { cwd: folder, encoding: 'utf8', stdio: 'pipe' })).toMatch(/0 Errors, 0 Warnings/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('AML', () => {
  it('pads names, and prefixes paths of several', () => {
    expect(path('\\_S5')).toEqual([0x5c, 0x5f, 0x53, 0x35, 0x5f]);
    expect(path('A.B').slice(0, 1)).toEqual([0x2e]);
    expect(path('A.B.C').slice(0, 2)).toEqual([0x2f, 3]);
  });

  it('writes integers in their shortest form', () => {
    expect([integer(0), integer(1), integer(5), integer(0x1234), integer(0xfed00000)]).toEqual([[0], [1], [0x0a, 5], [0x0b, 0x34, 0x12], [0x0c, 0, 0, 0xd0, 0xfe]]);
  });

  it('compresses EISA identifiers', () => {
    expect(eisaId('PNP0A03')).toEqual([0x0c, 0x41, 0xd0, 0x0a, 0x03]);
  });

  it('lengths take one byte up to 63, then more', () => {
    const zeros = (count: number) => packageOf(...Array.from({ length: count }, () => [0]));
    expect(zeros(61).slice(0, 2)).toEqual([0x12, 63]);
    expect(zeros(62).slice(0, 3)).toEqual([0x12, 0x40 | (65 & 15), 65 >> 4]);
  });
});

describe('SMBIOS', () => {
  const smbios = buildSmbios(512 << 20, flatTopology(2));

  it('both checksums of the entry point are right', () => {
    expect([sum(smbios.data.subarray(0, 31)), sum(smbios.data.subarray(16, 31))]).toEqual([0, 0]);
  });

  it('the structures end with the end marker, where the entry point says', () => {
    const entry = new DataView(smbios.data.buffer);
    const structures = smbios.data.subarray(entry.getUint32(24, true) - smbios.address);
    expect(structures.length).toBe(entry.getUint16(22, true));
    const types: number[] = [];
    for (let offset = 0; offset < structures.length; ) {
      types.push(structures[offset] ?? 0);
      let end = offset + (structures[offset + 1] ?? 4);
      while (structures[end] !== 0 || structures[end + 1] !== 0) end++;
      offset = end + 2;
    }
    expect(types).toEqual([0, 1, 3, 4, 16, 17, 19, 32, 127]);
    expect(types.length).toBe(entry.getUint16(28, true));
  });
});
