/** What CPUID returns for a model; root mode answers the CPUID exit with it. @sdm 2A CPUID */
import { tscHz, crystalHz } from '../platform/clock.ts';
import { FEATURES } from '../cpu/models.ts';
import type { CpuModel, Feature, FeatureRow } from '../cpu/models.ts';
import { KVM_FEATURES, KVM_LAST_LEAF, KVM_SIGNATURE } from './kvmInterface.ts';
import { apicIdBits } from '../platform/topology.ts';
import type { Topology } from '../platform/topology.ts';

export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** Processor state that shows in CPUID. */
export interface CpuidContext {
  readonly apicId: number;
  readonly apicEnabled: boolean;
  readonly osxsave: boolean;
  readonly ospke: boolean;
  readonly xcr0: number;
}

const XSAVE_AREAS = [{ bit: 9, size: 8, offset: 2688 }] as const;

function registersOf(text: string): [number, number, number] {
  const bytes = new TextEncoder().encode(text.padEnd(12, '\0'));
  const view = new DataView(bytes.buffer);
  return [view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)];
}

const VENDOR = registersOf('GenuineIntel');
const KVM = registersOf(KVM_SIGNATURE);
const HYPERVISOR = registersOf('VanderpoolVM');

/** Of leaf 7. */
const LAST_FEATURE_SUBLEAF = 2;

export class Cpuid {
  private readonly model: CpuModel;
  private readonly topology: Topology;
  private readonly kvm: boolean;
  private readonly has: ReadonlySet<Feature>;
  /** Bits of features by leaf, subleaf and register. */
  private readonly words = new Map<string, number>();
  private readonly idBits: ReturnType<typeof apicIdBits>;

  /** `kvm`: the leaves of a hypervisor are KVM's. */
  constructor(model: CpuModel, topology: Topology, kvm = false) {
    this.kvm = kvm;
    this.model = model;
    this.topology = topology;
    this.has = new Set(model.features);
    this.idBits = apicIdBits(topology);
    for (const name of model.features) {
      const [leaf, register, bit, subleaf = 0]: FeatureRow = FEATURES[name];
      const key = `${leaf} ${subleaf} ${register}`;
      this.words.set(key, (this.words.get(key) ?? 0) | (1 << bit));
    }
  }

  /** State components that XCR0 may enable. */
  get xcr0Allowed(): number {
    return 3 | (this.has.has('pku') ? 0x200 : 0);
  }

  private features(leaf: number, register: 'eax' | 'ebx' | 'ecx' | 'edx', subleaf = 0): number {
    return this.words.get(`${leaf} ${subleaf} ${register}`) ?? 0;
  }

  query(leaf: number, subleaf: number, context: CpuidContext): CpuidResult {
    const result: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    const maximum = this.has.has('lm') ? 0x1f : 5;
    let asked = leaf >>> 0;
    if (asked >= 0x40000000 && asked < 0x40000100) {
      if (asked === 0x40000000) {
        result.eax = this.kvm ? KVM_LAST_LEAF : 0x40000000;
        [result.ebx, result.ecx, result.edx] = this.kvm ? KVM : HYPERVISOR;
      }
      if (asked === KVM_LAST_LEAF && this.kvm) result.eax = KVM_FEATURES;
      return result;
    }
    // Above the last basic leaf the data of the last one is returned.
    if (asked > maximum && asked < 0x80000000) asked = maximum;
    switch (asked) {
      case 0: {
        const [b, d, c] = VENDOR;
        return { eax: maximum, ebx: b, ecx: c, edx: d };
      }
      case 1: {
        const { family, model, stepping } = this.model;
        result.eax = stepping | ((model & 15) << 4) | (family << 8) | ((model >> 4) << 16);
        result.ebx = (context.apicId << 24) | (this.idsInSocket << 16) | (8 << 8);
        result.ecx = this.features(1, 'ecx') | (context.osxsave ? 1 << 27 : 0);
        result.edx = this.features(1, 'edx') | (this.idsInSocket > 1 ? 1 << 28 : 0);
        if (!context.apicEnabled) result.edx &= ~(1 << 9);
        return result;
      }
      // The caches of leaf 4 by descriptors, and 0xFE: TLBs are in leaf 0x18. With 0xFF, for leaf 4, the GNU C library asks 60 times at each exec, with these 30 times.
      case 2: return { eax: 0x2c308701, ebx: 0, ecx: 0xfe, edx: 0 };
      case 4: return this.cache(subleaf);
      case 6: return { ...result, eax: 4 };
      case 7:
        result.edx = this.features(7, 'edx', subleaf);
        if (subleaf === 0) {
          result.eax = LAST_FEATURE_SUBLEAF;
          result.ebx = this.features(7, 'ebx');
          result.ecx = this.features(7, 'ecx') | (context.ospke ? 1 << 4 : 0);
        }
        return result;
      case 0xb: case 0x1f: return this.arrangement(subleaf, context);
      case 0xd: return this.xsave(subleaf, context);
      case 0x15: return { eax: 1, ebx: tscHz / crystalHz, ecx: crystalHz, edx: 0 };
      case 0x16: return { eax: tscHz / 1e6, ebx: tscHz / 1e6, ecx: 100, edx: 0 };
      case 0x80000000: return { ...result, eax: 0x80000008 | 0 };
      case 0x80000001: return { ...result, ecx: this.features(0x80000001, 'ecx'), edx: this.features(0x80000001, 'edx') };
      case 0x80000002: case 0x80000003: case 0x80000004: {
        const text = new Uint8Array(48);
        text.set(new TextEncoder().encode(this.model.brand).subarray(0, 47));
        const view = new DataView(text.buffer, (asked - 0x80000002) * 16, 16);
        return { eax: view.getInt32(0, true), ebx: view.getInt32(4, true), ecx: view.getInt32(8, true), edx: view.getInt32(12, true) };
      }
      case 0x80000006: return { ...result, ecx: (1024 << 16) | (6 << 12) | 64 };
      case 0x80000007: return { ...result, edx: this.features(0x80000007, 'edx') };
      case 0x80000008: return { ...result, eax: this.model.physicalAddressBits | ((this.has.has('la57') ? 57 : 48) << 8) };
      default: return result;
    }
  }

  /** APIC IDs that a socket takes, gaps included. */
  private get idsInSocket(): number {
    return 1 << this.idBits.socket;
  }

  /** Leaf 4: 32 KB data and instruction caches, 1 MB second level, all of a core's own; descriptors 0x2C, 0x30 and 0x87. */
  private cache(subleaf: number): CpuidResult {
    const rows = [{ type: 1, level: 1, ways: 8, sets: 64 }, { type: 2, level: 1, ways: 8, sets: 64 }, { type: 3, level: 2, ways: 8, sets: 2048 }] as const;
    const row = rows[subleaf];
    if (!row) return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    const { core, socket } = this.idBits;
    return {
      eax: row.type | (row.level << 5) | (1 << 8) | (((1 << core) - 1) << 14) | (((1 << (socket - core)) - 1) << 26),
      ebx: 63 | ((row.ways - 1) << 22), ecx: row.sets - 1, edx: 0,
    };
  }

  private arrangement(subleaf: number, context: CpuidContext): CpuidResult {
    const { core, socket } = this.idBits;
    const { cores, threads } = this.topology;
    const edx = context.apicId;
    if (subleaf === 0) return { eax: core, ebx: threads, ecx: 0x100, edx };
    if (subleaf === 1) return { eax: socket, ebx: cores * threads, ecx: 0x201, edx };
    return { eax: 0, ebx: 0, ecx: subleaf & 0xff, edx };
  }

  private xsave(subleaf: number, context: CpuidContext): CpuidResult {
    const result: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    if (!this.has.has('xsave')) return result;
    const sizeFor = (xcr0: number): number => XSAVE_AREAS.reduce((size, area) => (xcr0 >> area.bit) & 1 ? Math.max(size, area.offset + area.size) : size, 576);
    if (subleaf === 0) return { eax: this.xcr0Allowed, ebx: sizeFor(context.xcr0), ecx: sizeFor(this.xcr0Allowed), edx: 0 };
    if (subleaf === 1) {
      const compact = XSAVE_AREAS.reduce((size, area) => (context.xcr0 >> area.bit) & 1 ? size + area.size : size, 576);
      return { ...result, eax: 3, ebx: compact };
    }
    const area = XSAVE_AREAS.find(({ bit }) => bit === subleaf);
    if (area && (this.xcr0Allowed >> area.bit) & 1) return { ...result, eax: area.size, ebx: area.offset };
    return result;
  }
}
