/** CPUID models as rows: what a processor of that name offers. Feature names are the SDM's, in lower case. */

/** Where each feature shows in CPUID. @sdm 2A CPUID */
type Register = 'eax' | 'ebx' | 'ecx' | 'edx';
export type FeatureRow = readonly [leaf: number, register: Register, bit: number, subleaf?: number];

export const FEATURES = {
  fpu: [1, 'edx', 0], vme: [1, 'edx', 1], de: [1, 'edx', 2], pse: [1, 'edx', 3], tsc: [1, 'edx', 4], msr: [1, 'edx', 5], pae: [1, 'edx', 6],
  mce: [1, 'edx', 7], cx8: [1, 'edx', 8], apic: [1, 'edx', 9], sep: [1, 'edx', 11], mtrr: [1, 'edx', 12], pge: [1, 'edx', 13],
  mca: [1, 'edx', 14], cmov: [1, 'edx', 15], pat: [1, 'edx', 16], pse36: [1, 'edx', 17], clfsh: [1, 'edx', 19], mmx: [1, 'edx', 23],
  fxsr: [1, 'edx', 24], sse: [1, 'edx', 25], sse2: [1, 'edx', 26], ss: [1, 'edx', 27], htt: [1, 'edx', 28],
  sse3: [1, 'ecx', 0], pclmulqdq: [1, 'ecx', 1], vmx: [1, 'ecx', 5], ssse3: [1, 'ecx', 9], cmpxchg16b: [1, 'ecx', 13], pcid: [1, 'ecx', 17],
  'sse4.1': [1, 'ecx', 19], 'sse4.2': [1, 'ecx', 20], x2apic: [1, 'ecx', 21], movbe: [1, 'ecx', 22], popcnt: [1, 'ecx', 23],
  'tsc-deadline': [1, 'ecx', 24], aes: [1, 'ecx', 25], xsave: [1, 'ecx', 26], rdrand: [1, 'ecx', 30], hypervisor: [1, 'ecx', 31],
  fsgsbase: [7, 'ebx', 0], 'tsc-adjust': [7, 'ebx', 1], bmi1: [7, 'ebx', 3], smep: [7, 'ebx', 7], bmi2: [7, 'ebx', 8], erms: [7, 'ebx', 9],
  invpcid: [7, 'ebx', 10], rdseed: [7, 'ebx', 18], adx: [7, 'ebx', 19], smap: [7, 'ebx', 20], clflushopt: [7, 'ebx', 23],
  clwb: [7, 'ebx', 24], sha: [7, 'ebx', 29],
  umip: [7, 'ecx', 2], pku: [7, 'ecx', 3], la57: [7, 'ecx', 16], rdpid: [7, 'ecx', 22],
  fsrm: [7, 'edx', 4], 'spec-ctrl': [7, 'edx', 26], 'arch-capabilities': [7, 'edx', 29], 'bhi-ctrl': [7, 'edx', 4, 2],
  'lahf-lm': [0x80000001, 'ecx', 0], lzcnt: [0x80000001, 'ecx', 5], prefetchw: [0x80000001, 'ecx', 8],
  syscall: [0x80000001, 'edx', 11], nx: [0x80000001, 'edx', 20], 'pdpe1gb': [0x80000001, 'edx', 26], rdtscp: [0x80000001, 'edx', 27],
  lm: [0x80000001, 'edx', 29],
  'invariant-tsc': [0x80000007, 'edx', 8],
} as const satisfies Record<string, FeatureRow>;

export type Feature = keyof typeof FEATURES;

export interface CpuModel {
  readonly name: string;
  readonly description: string;
  /** CPUID brand string, at most 47 characters. */
  readonly brand: string;
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  readonly physicalAddressBits: number;
  readonly features: readonly Feature[];
}

const BASE_32: readonly Feature[] = [
  'fpu', 'vme', 'de', 'pse', 'tsc', 'msr', 'pae', 'mce', 'cx8', 'apic', 'sep', 'mtrr', 'pge', 'mca', 'cmov', 'pat', 'pse36', 'clfsh', 'mmx',
  'fxsr', 'sse', 'sse2', 'ss', 'hypervisor',
];
const BASE_64: readonly Feature[] = [...BASE_32, 'sse3', 'syscall', 'nx', 'lm', 'lahf-lm'];
const V2: readonly Feature[] = [
  ...BASE_64, 'ssse3', 'cmpxchg16b', 'sse4.1', 'sse4.2', 'popcnt', 'x2apic', 'tsc-deadline', 'rdtscp', 'invariant-tsc', 'tsc-adjust',
  'pclmulqdq', 'aes', 'movbe', 'xsave', 'rdrand', 'rdseed', 'fsgsbase', 'smep', 'smap', 'umip', 'erms', 'fsrm', 'invpcid', 'pcid', 'sha',
  'adx', 'clflushopt', 'clwb', 'rdpid', 'vmx', 'lzcnt', 'prefetchw', 'pdpe1gb', 'spec-ctrl', 'arch-capabilities', 'bhi-ctrl',
];

export const MODELS: readonly CpuModel[] = [
  {
    name: 'x86-64-v2', description: '64-bit processor of the x86-64-v2 class with AES, SHA, SMEP, SMAP, UMIP, PCID and VT-x (default)',
    brand: 'Vanderpool x86-64-v2 processor', family: 6, model: 0x6a, stepping: 6, physicalAddressBits: 40, features: V2,
  },
  {
    name: 'x86-64-v1', description: '64-bit processor of the first generation: SSE2, no SSE4, no x2APIC',
    brand: 'Vanderpool x86-64-v1 processor', family: 6, model: 0x0f, stepping: 11, physicalAddressBits: 36, features: BASE_64,
  },
  {
    name: 'max', description: 'everything that is implemented, 5-level paging and protection keys too',
    brand: 'Vanderpool max processor', family: 6, model: 0x6a, stepping: 6, physicalAddressBits: 46, features: [...V2, 'la57', 'pku', 'bmi1', 'bmi2'],
  },
  {
    name: 'i686', description: '32-bit processor with SSE2 and PAE',
    brand: 'Vanderpool i686 processor', family: 6, model: 0x0d, stepping: 8, physicalAddressBits: 36, features: BASE_32,
  },
];

export const DEFAULT_MODEL = 'x86-64-v2';

export function findModel(name: string): CpuModel | undefined {
  return MODELS.find(model => model.name === name);
}
