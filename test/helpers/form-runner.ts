/** Runs single decoded instructions through the functions that the interpreter uses for cold forms, over a state of their own. */
import type { CpuWasm } from './cpu-wasm.ts';
import { instantiate } from './cpu-wasm.ts';
import { loadFx, storeFx } from './fxState.ts';
import { NativeCase } from './native.ts';
import { Decoder } from '../../core/isa/decoder.ts';
import type { Row } from '../../core/isa/rows.ts';
import { parseRows, row } from '../../core/isa/rows.ts';
import { buildForms } from '../../core/cpu/interpreter/coldForms.ts';
import type { HelperSignatures } from '../../core/cpu/helpers.ts';
import { buildProgram, formOf } from '../../core/cpu/forms.ts';
import { discover } from '../../core/cpu/jit/discover.ts';
import { analyse } from '../../core/cpu/jit/flow.ts';
import { InstructionCache } from '../../core/cpu/jit/instructions.ts';
import { compileRegion } from '../../core/cpu/jit/region.ts';
import { regionImports } from '../../core/cpu/jit/ways.ts';
import * as L from '../../core/cpu/layout.ts';
import * as R from '../../core/cpu/record.ts';

const invalid = parseRows([row('FF =FF', 'UD', '', '', o => o.raise(6))])[0]!;
const RECORD = L.CODE_ARENA;
const PAGE = 0x100000n;

type ColdForm = (record: number, pageRip: bigint, tlb: number) => number;

export class FormRunner {
  readonly cpu: CpuWasm;
  private readonly codeSize: 32 | 64;
  private readonly decoder: Decoder;
  private readonly instructions: InstructionCache;
  private readonly signatures: HelperSignatures;
  private readonly memory: WebAssembly.Memory;
  private readonly compiled = new Map<number, ColdForm>();
  private readonly regions = new Map<string, ColdForm>();

  constructor(rows: readonly Row[], codeSize: 32 | 64 = 64) {
    this.codeSize = codeSize;
    this.cpu = instantiate();
    this.decoder = new Decoder(rows, invalid);
    this.instructions = new InstructionCache(this.cpu.bytes, new Decoder(rows, invalid));
    this.signatures = this.cpu.signatures;
    this.memory = this.cpu.memory;
    this.prepareMode();
  }

  /** 64-bit code, or 32-bit code with flat segments, at privilege 0; linear addresses equal to physical ones, SSE enabled. */
  private prepareMode(): void {
    const { cpu } = this;
    cpu.write32(L.CODE_SIZE, this.codeSize === 64 ? 2 : 1);
    cpu.write32(L.STACK_SIZE, this.codeSize === 64 ? 2 : 1);
    cpu.write32(L.CR0, 0x31);
    cpu.write32(L.CR4, 0x600);
    cpu.write64(L.XCR0, 3n);
  }

  /** Of regions to go on with: there are none. */
  private readonly table = new WebAssembly.Table({ element: 'anyfunc', initial: 1 });

  private imports: WebAssembly.ModuleImports | undefined;

  private instance(module: WebAssembly.Module, table = this.table, helpers = this.cpu.exports as WebAssembly.ModuleImports): WebAssembly.Instance {
    return new WebAssembly.Instance(module, { host: { memory: this.memory, cold: table }, helpers });
  }

  /** The function of the instruction's form. */
  private form(code: readonly number[]): ColdForm {
    const decoded = this.decoder.decode(Uint8Array.from([...code, ...new Array<number>(16).fill(0x90)]), 0, 32, this.codeSize);
    if (decoded.row === invalid) throw new Error(`not decoded: ${code.map(byte => byte.toString(16)).join(' ')}`);
    if (decoded.length !== code.length) throw new Error(`${decoded.row.name}: decoded ${decoded.length} of ${code.length} bytes`);
    const shape = formOf(decoded, this.codeSize);
    let found = this.compiled.get(shape.key);
    if (!found) {
      const table = new WebAssembly.Table({ element: 'anyfunc', initial: 1 });
      this.instance(new WebAssembly.Module(buildForms([buildProgram(decoded, shape, this.codeSize)], this.signatures, 0)), table);
      found = table.get(0) as ColdForm;
      this.compiled.set(shape.key, found);
    }
    const { view } = this.cpu;
    view.setUint16(RECORD + R.R_OFFSET, 0, true);
    view.setUint8(RECORD + R.R_LENGTH, decoded.length);
    view.setUint16(RECORD + R.R_G, decoded.g, true);
    view.setUint16(RECORD + R.R_E, decoded.e, true);
    view.setUint16(RECORD + R.R_INDEX, decoded.index, true);
    view.setUint16(RECORD + R.R_SEGMENT, decoded.segment, true);
    view.setUint16(RECORD + R.R_SCALE, decoded.scale, true);
    view.setInt32(RECORD + R.R_IMMEDIATE, decoded.immediateLow, true);
    view.setInt32(RECORD + R.R_IMMEDIATE + 4, decoded.immediateHigh, true);
    view.setInt32(RECORD + R.R_DISPLACEMENT, decoded.displacement, true);
    view.setUint32(RECORD + R.R_AUX, decoded.row.has.string ? decoded.segmentNumber : decoded.aux, true);
    return found;
  }

  /** Runs one case; the result has the pending fault's vector plus 1000 as its signal, 0 when there is none. */
  run(input: NativeCase, code: readonly number[], dataAddress: number): NativeCase {
    const { cpu } = this;
    const { view, bytes } = cpu;
    const f = this.form(code);
    this.load(input);
    bytes.set(input.memory, L.RAM_BASE + dataAddress);
    cpu.write32(L.FAULT, 0);
    cpu.write32(L.CPL, 0);
    const status = f(RECORD, PAGE, view.getUint32(L.TLB_BASE, true));
    const out = new NativeCase(new Uint8Array(input.bytes));
    this.store(out);
    out.memory.set(bytes.subarray(L.RAM_BASE + dataAddress, L.RAM_BASE + dataAddress + 64));
    const fault = cpu.read32(L.FAULT);
    if ((status === 1) !== (fault !== 0)) throw new Error(`status ${status} with fault ${fault}`);
    out.view.setUint32(664, fault === 0 ? 0 : 1000 + (fault & 0xff), true);
    return out;
  }

  /** Runs a straight line of code as one region; the signal is 2000 plus the status when it did not run to its end. */
  runRegion(input: NativeCase, code: readonly number[], dataAddress: number): NativeCase {
    const { cpu } = this;
    const { view, bytes } = cpu;
    const host = L.RAM_BASE + Number(PAGE);
    // A jump out of the page ends the region.
    const whole = [...code, 0xe9, 0, 0x10, 0, 0];
    const key = code.join();
    let region = this.regions.get(key);
    if (!region) {
      bytes.fill(0x90, host, host + 4096);
      bytes.set(whole, host);
      const found = discover(0, {
        instruction: (page, offset) => this.instructions.at(page.host + offset, page.host + 4096, 64),
        page: number => (number === 0 ? { host, table: 0 } : null), across: () => null, odds: () => null, isMarked: () => false, isDecoded: () => true, isTaken: () => true, isEntry: () => false, likelyTarget: () => null,
      }, { blocks: 16, instructions: 64, callDepth: 0, weighed: false });
      // By turns as small and as large ones are made.
      const identity = { plain: 0, stackSize: 0, user: false, large: this.regions.size % 2 === 0, apart: new Set<number>(), targets: new Map<number, number>(), counted: new Set<number>(), moving: null };
      const module = new WebAssembly.Module(compileRegion(found, analyse(found.blocks, found.entry), 64, this.signatures, identity));
      this.imports ??= regionImports({ memory: this.memory, table: this.table, helpers: this.cpu.exports as WebAssembly.ModuleImports, signatures: this.signatures });
      region = this.instance(module, this.table, this.imports).exports['region'] as ColdForm;
      this.regions.set(key, region);
    }
    this.load(input);
    bytes.set(input.memory, L.RAM_BASE + dataAddress);
    cpu.write32(L.FAULT, 0);
    cpu.write64(L.BUDGET, 1000n);
    const status = region(0, PAGE, view.getUint32(L.TLB_BASE, true));
    const out = new NativeCase(new Uint8Array(input.bytes));
    this.store(out);
    out.memory.set(bytes.subarray(L.RAM_BASE + dataAddress, L.RAM_BASE + dataAddress + 64));
    const left = view.getBigUint64(L.RIP, true) === PAGE + BigInt(whole.length) + 0x1000n;
    out.view.setUint32(664, status === R.REGION_DONE && left ? 0 : 2000 + status, true);
    return out;
  }

  private load(input: NativeCase): void {
    const { view } = this.cpu;
    for (let i = 0; i < 16; i++) view.setBigUint64(L.GPR + i * 8, input.gpr(i), true);
    this.cpu.callBig('writeFlags', BigInt(input.flags), 0xcd5n);
    loadFx(this.cpu, input.fx);
  }

  private store(out: NativeCase): void {
    const { view } = this.cpu;
    for (let i = 0; i < 16; i++) out.setGpr(i, view.getBigUint64(L.GPR + i * 8, true));
    out.flags = Number(this.cpu.callBig('readFlags'));
    storeFx(this.cpu, out.fx);
  }
}

