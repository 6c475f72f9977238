import { describe, expect, it } from 'vitest';
import type { InspectQuery, InspectSection } from '../../../core/contract/inspect.ts';
import { inspectSection } from '../../../core/contract/inspect.ts';
import { CODE, asm, image, runToEnd, smallMachine } from '../../helpers/small-guest.ts';
import type { SmallMachine } from '../../helpers/small-guest.ts';

const QUERIES: readonly InspectQuery[] = [
  { what: 'registers' }, { what: 'vectors' }, { what: 'walk', address: '0x1234' }, { what: 'tlb' }, { what: 'vmcs' }, { what: 'root', address: '0x1234' }, { what: 'interrupts' }, { what: 'map' },
  { what: 'code', address: null, count: 8 }, { what: 'memory', space: 'virtual', address: '0x100000', length: 64 },
];

async function stopped(code: readonly number[]): Promise<SmallMachine> {
  const guest = await smallMachine(image([...code, ...asm.exit]));
  await runToEnd(guest);
  return guest;
}

function ask({ machine }: SmallMachine, query: InspectQuery): readonly InspectSection[] {
  return machine.answer('inspect', { query });
}

/** The cells of the row that begins with a word. */
function row(sections: readonly InspectSection[], first: string): readonly string[] {
  return sections.flatMap(({ rows }) => rows).find(([cell]) => cell === first) ?? [];
}

describe('looking into a machine', () => {
  it('answers every question in the shape of the contract', async () => {
    const guest = await stopped([]);
    for (const query of QUERIES) {
      const sections = ask(guest, query);
      expect(sections.length, query.what).toBeGreaterThan(0);
      for (const section of sections) {
        expect(() => inspectSection.parse(section), query.what).not.toThrow();
        for (const cells of section.rows) expect(cells).toHaveLength(section.columns.length);
      }
    }
  });

  it('shows registers with their values and bits', async () => {
    const guest = await stopped([...asm.ebx(0x12345678), ...asm.eax(1)]);
    const sections = ask(guest, { what: 'registers' });
    expect(row(sections, 'RBX')[1]).toBe('0x0000000012345678');
    expect(row(sections, 'CR0')[2]).toContain('PE');
    expect(row(sections, 'CS').slice(2, 4)).toEqual(['0x0000000000000000', '0xffffffff']);
    expect(row(sections, 'RIP')[2]).toBe('32-bit code');
  });

  it('disassembles around RIP and marks it', async () => {
    const guest = await stopped([...asm.eax(7), ...asm.ecx(9)]);
    const [code] = ask(guest, { what: 'code', address: null, count: 8 });
    const current = code?.rows.findIndex(([mark]) => mark === '>') ?? -1;
    expect(current).toBeGreaterThan(0);
    // OUT ended the run, and RIP is behind it.
    expect(code?.rows[current - 1]?.slice(2)).toEqual(['e7f4', 'out 0xf4, eax']);
  });

  it('dumps memory by address, and refuses where there is none', async () => {
    const guest = await stopped(asm.store(0x200000, 0x64636261));
    const [dump] = ask(guest, { what: 'memory', space: 'physical', address: '0x200000', length: 16 });
    expect(dump?.rows).toEqual([['0x0000000000200000', '61 62 63 64 00 00 00 00 00 00 00 00 00 00 00 00', 'abcd............']]);
    const [narrow] = ask(guest, { what: 'memory', space: 'physical', address: '0x200000', length: 16, line: 8 });
    expect(narrow?.rows).toEqual([['0x0000000000200000', '61 62 63 64 00 00 00 00', 'abcd....'], ['0x0000000000200008', '00 00 00 00 00 00 00 00', '........']]);
    expect(() => ask(guest, { what: 'memory', space: 'physical', address: '0xfee00000', length: 16 })).toThrow(/no memory at the physical address 0xfee00000/);
    expect(() => ask(guest, { what: 'memory', space: 'physical', address: '0x10000000000', length: 16 })).toThrow(/no memory/);
    const [end] = ask(guest, { what: 'memory', space: 'physical', address: '0xfffff0', length: 64 });
    expect(end?.rows).toHaveLength(1);
    expect(end?.note).toContain('ends after 16 bytes');
  });

  it('names the devices of the memory map and of the ports', async () => {
    const sections = ask(await stopped([]), { what: 'map' });
    expect(row(sections, '0xfec00000')).toEqual(['0xfec00000', '0xfec00fff', '0x1000', 'device', 'io-apic']);
    expect(row(sections, '0x0').slice(1, 4)).toEqual(['0x9ffff', '0xa0000', 'RAM']);
    expect(row(sections, '0x3f8')[4]).toBe('com1');
  });

  it('shows the translations that the processor holds', async () => {
    const guest = await stopped(asm.store(0x200000, 1));
    const [supervisor] = ask(guest, { what: 'tlb' });
    expect(row([supervisor!], '0x0000000000200000')).toEqual(['0x0000000000200000', '0x200000', 'read write', '']);
    expect(row([supervisor!], `0x${(CODE & ~0xfff).toString(16).padStart(16, '0')}`)[2]).toContain('execute');
  });
});
