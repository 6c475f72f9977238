/** Regions on disk, for whoever tunes them: the guest code of each, where its blocks go, and its WebAssembly. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { disassemble } from '../../isa/disassembler.ts';
import type { CodeSize } from '../../isa/decoder.ts';
import { keyOffset } from './discover.ts';
import type { Region, RegionBlock } from './discover.ts';

export interface DumpedRegion {
  /** Index in the function table; names the files. */
  readonly index: number;
  readonly tier: number;
  readonly region: Region;
  /** Guest-physical address of the entry, and RIP when it was compiled. */
  readonly gpa: number;
  readonly rip: bigint;
  readonly codeSize: CodeSize;
  readonly wasm: Uint8Array;
  /** Samples that its code had before. */
  readonly samples: number;
  readonly milliseconds: number;
}

/** Linear memory, and where in it a page of the region is. */
export type PageBytes = (page: number) => Uint8Array | null;

const CODE_BYTES = 16;

/** Writes `INDEX-RIP.txt` and `INDEX-RIP.wasm` into a folder, which is made. */
export function dumpRegion(folder: string, dumped: DumpedRegion, bytesOf: PageBytes): void {
  mkdirSync(folder, { recursive: true });
  const name = join(folder, `${String(dumped.index).padStart(5, '0')}-${dumped.rip.toString(16)}`);
  writeFileSync(`${name}.wasm`, dumped.wasm);
  writeFileSync(`${name}.txt`, text(dumped, bytesOf));
}

function text({ index, tier, region, gpa, rip, codeSize, wasm, samples, milliseconds }: DumpedRegion, bytesOf: PageBytes): string {
  const pageRip = rip - BigInt(gpa & 4095);
  const blocks = [...region.blocks.values()];
  const instructions = blocks.reduce((sum, block) => sum + block.instructions.length, 0);
  const number = new Map(blocks.map((block, i) => [block.key, i]));
  const head = [
    `region ${index}, ${tier === 0 ? 'small' : 'large'}: ${codeSize}-bit code at ${rip.toString(16)}, guest-physical ${gpa.toString(16)}`,
    `${instructions} instructions in ${blocks.length} blocks on ${region.foreign.size + 1} pages; ${wasm.length} bytes of WebAssembly in ${milliseconds.toFixed(2)} ms`,
    `${samples} samples before`,
  ];
  const goes = (what: string, key: number): string => (key < 0 ? '' : `, ${what} ${number.get(key) ?? 'out'}`);
  const body = (block: RegionBlock, i: number): string => [
    `\nblock ${i}${goes('taken', block.taken)}${goes('next', block.next)}${goes('likely', block.likely)}${block.bail ? ', then the interpreter' : ''}`,
    ...block.instructions.map(({ offset }) => {
      const bytes = bytesOf(Math.floor(offset / 4096));
      const at = offset & 4095;
      const address = BigInt.asUintN(64, pageRip + BigInt(offset));
      const line = bytes ? disassemble(bytes.slice(at, at + CODE_BYTES), 0, codeSize, address).text : '(gone)';
      return `  ${address.toString(16).padStart(16, '0')}  ${line}`;
    }),
  ].join('\n');
  return `${head.join('\n')}\nentry: block ${number.get(region.entry) ?? `at ${keyOffset(region.entry)}`}\n${blocks.map(body).join('\n')}\n`;
}
