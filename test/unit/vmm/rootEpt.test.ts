import { describe, expect, it } from 'vitest';
import * as L from '../../../core/cpu/layout.ts';
import { instantiate } from '../../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../../helpers/cpu-wasm.ts';
import { asm, image, smallMachine } from '../../helpers/small-guest.ts';

const MEGABYTE = 0x100000;
const LARGE = 0x80;
const RAM = 0x37;

/** PAGE_* of addresses as the processor finds them. */
function kinds(cpu: CpuWasm, ...addresses: readonly number[]): number[] {
  return addresses.map(address => cpu.call('pageKind', BigInt(address)));
}

describe('root mode\'s EPT', () => {
  it('maps whole 2 MiB by one entry until a page of them differs, and the pages around it stay', () => {
    const cpu = instantiate();
    const before = cpu.ept.walk(3 * MEGABYTE);
    cpu.ept.map(3 * MEGABYTE, 0x1000, L.PAGE_ROM);
    const after = cpu.ept.walk(3 * MEGABYTE);
    expect([before.map(({ level }) => level), before.at(-1)?.entry]).toEqual([['PML4E', 'PDPTE', 'PDE'], L.RAM_BASE + 2 * MEGABYTE + LARGE + RAM]);
    expect([after.map(({ level }) => level), after.at(-1)?.entry]).toEqual([['PML4E', 'PDPTE', 'PDE', 'PTE'], L.RAM_BASE + 3 * MEGABYTE + RAM - 2]);
    expect(kinds(cpu, 3 * MEGABYTE - 1, 3 * MEGABYTE, 3 * MEGABYTE + 0x1000)).toEqual([L.PAGE_RAM, L.PAGE_ROM, L.PAGE_RAM]);
  });

  it('is what the processor goes by: what was found is kept until the map changes', () => {
    const cpu = instantiate();
    const all = [L.PAGE_MMIO, L.PAGE_ROM, L.PAGE_RAM] as const;
    const seen = all.map(kind => {
      cpu.ept.map(0x5000, 0x2000, kind);
      return kinds(cpu, 0x4000, 0x5000, 0x6fff, 0x7000);
    });
    expect(seen).toEqual(all.map(kind => [L.PAGE_RAM, kind, kind, L.PAGE_RAM]));
  });

  it('maps nothing beyond RAM and nothing above 4 GiB', () => {
    const cpu = instantiate(16 * MEGABYTE);
    expect(kinds(cpu, 16 * MEGABYTE - 1, 16 * MEGABYTE, 0xfffff000, 2 ** 32, 2 ** 40)).toEqual([L.PAGE_RAM, 0, 0, 0, 0]);
  });

  it('entries take rights away on any level, and a frame elsewhere cannot be reached', () => {
    const cpu = instantiate();
    const [, pdpte, pde] = cpu.ept.walk(0x200000);
    const pages = cpu.read32(pde!.at);
    const found = [pages & ~2, pages & ~7, pages + 0x200000].map(entry => {
      cpu.write32(pde!.at, entry);
      const kind = kinds(cpu, 0x200000)[0];
      cpu.bytes[L.PAGE_KIND + 0x200] = 0;
      return kind;
    });
    cpu.write32(pde!.at, pages);
    cpu.write32(pdpte!.at, pdpte!.entry & ~2);
    expect([found, kinds(cpu, 0x200000)]).toEqual([[L.PAGE_ROM, L.PAGE_MMIO, L.PAGE_MMIO], [L.PAGE_ROM]]);
  });

  it('a write to ROM is an EPT violation that root mode hears of, and changes nothing', () => {
    const cpu = instantiate();
    cpu.ept.map(0x20000, 0x1000, L.PAGE_ROM);
    cpu.call('writeU32', 0x20010n, 0x12345678);
    expect([cpu.log, cpu.read32(L.RAM_BASE + 0x20010)]).toEqual([[{ kind: 'write', address: 0x20010, size: 4, value: 0x12345678n }], 0]);
  });

  it('a page that is withheld is RAM to whoever looks, and comes when it is accessed', () => {
    const cpu = instantiate();
    cpu.ept.withhold(0x30);
    expect([cpu.ept.withheld(0x30), cpu.ept.kindOf(0x30), kinds(cpu, 0x30000)[0]]).toEqual([true, L.PAGE_RAM, L.PAGE_MMIO]);
    cpu.ept.supply(0x30);
    expect([cpu.ept.withheld(0x30), kinds(cpu, 0x2f000, 0x30000)]).toEqual([false, [L.PAGE_RAM, L.PAGE_RAM]]);
  });

  it('lies where no guest-physical address leads', () => {
    expect(L.ROOT_EPT + 6 * 0x1000).toBeLessThanOrEqual(L.REGION_CHECKS);
    expect(L.ROOT_EPT_TABLES + 2048 * 0x1000).toBeLessThanOrEqual(L.CODE_ARENA);
    expect(L.CODE_ARENA).toBeLessThan(L.ROM_BASE);
  });

  it('is shown with the bitmaps, and for an address entry by entry', async () => {
    const { machine } = await smallMachine(image([...asm.cli, ...asm.hlt]));
    while (machine.runSlice().kind === 'ran');
    const [walk, mapped, ports, msrs] = machine.answer('inspect', { query: { what: 'root', address: '0xa0000' } });
    expect([walk?.rows.map(([level]) => level), walk?.note]).toEqual([['PML4E', 'PDPTE', 'PDE', 'PTE'], 'Not mapped: the access exits.']);
    expect(mapped?.rows.slice(0, 2).map(([first, last]) => [first, last])).toEqual([['0x0', '0x9ffff'], ['0xc0000', '0xffffff']]);
    expect(ports?.rows).toEqual([['0x0', '0xffff']]);
    expect(msrs?.rows).toContainEqual(['0xc0000100', '0xc0000103', 'no exit', 'no exit']);
  });
});
