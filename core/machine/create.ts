/** A virtual machine put together: processor, root mode, PC, images. */
import { DEFAULT_MODEL, findModel } from '../cpu/models.ts';
import type { CpuModel, Feature } from '../cpu/models.ts';
import { Processor } from '../cpu/processor.ts';
import { Cpuid } from '../vmm/cpuid.ts';
import { Vmm } from '../vmm/vmm.ts';
import { VirtualClock, tscPerNs } from '../platform/clock.ts';
import { flatTopology } from '../platform/topology.ts';
import { MEMORY_MINIMUM } from '../contract/limits.ts';
import type { BootImages } from '../boot/image.ts';
import { BootError } from '../boot/loader.ts';
import { loadMonitor } from '../monitor/image.ts';
import { createDevices } from './devices.ts';
import { pageReleaser } from './paravirtual.ts';
import { GdbTarget } from '../gdb/target.ts';
import { readHelpers, readPrebuilt } from './helperFile.ts';
import { savedSlots } from './hotPlugSlots.ts';
import { spoolImages } from './imageSpool.ts';
import { Pager } from './pager.ts';
import { Pc } from './pc.ts';
import { answerQuestion } from './questions.ts';
import { restoreMachine, saveMachine } from './saved.ts';
import { hostSources, repeatableSources } from './sources.ts';
import type { LoadedBoot, Machine, MachineConfig, MachineHost, RestorePoint } from './types.ts';
import { CODE_ARENA, CODE_ARENA_END, PAGE_CODE, PAGE_MMIO, PAGE_RAM, PAGE_ROM } from '../cpu/layout.ts';
import { adviseHugePages, givesHugePagesWhenAsked } from '../host/libc.ts';
import { checkFirmware } from './firmware.ts';
import { TranslationFile } from './translationFile.ts';
import { VariableStore } from './variables.ts';
import { WallTime } from './wallTime.ts';
import { entryChecker } from '../vmx/entry.ts';
import { writeVmxTables } from '../vmx/tables.ts';

const CR4_BITS: readonly (readonly [Feature | null, number])[] = [
  ['vme', 0], ['vme', 1], ['tsc', 2], ['de', 3], ['pse', 4], ['pae', 5], ['mce', 6], ['pge', 7], [null, 8], ['fxsr', 9], ['sse', 10], ['umip', 11],
  ['la57', 12], ['vmx', 13], ['fsgsbase', 16], ['pcid', 17], ['xsave', 18], ['smep', 20], ['smap', 21], ['pku', 22],
];

const pageKinds = { ram: PAGE_RAM, rom: PAGE_ROM, mmio: PAGE_MMIO } as const;

function allowedCr4(model: CpuModel): bigint {
  return CR4_BITS.reduce((bits, [feature, bit]) => feature === null || model.features.includes(feature) ? bits | (1n << BigInt(bit)) : bits, 0n);
}

function allowedEfer(model: CpuModel): bigint {
  let bits = 0n;
  if (model.features.includes('syscall')) bits |= 1n;
  if (model.features.includes('lm')) bits |= 0x500n;
  if (model.features.includes('nx')) bits |= 0x800n;
  return bits;
}

/**
 * Large boot images become the machine's own: their arrays are empty afterwards (imageSpool.ts).
 * @throws BootError when the configuration or an image is wrong; the message names it
 */
export async function createMachine(config: MachineConfig, host: MachineHost): Promise<Machine> {
  return build(config, host, false);
}

/** Makes a small machine that never runs: its code, and the tables that all machines share, are there for the next one. */
export async function rehearse(): Promise<void> {
  const config: MachineConfig = { memoryBytes: MEMORY_MINIMUM, cpus: 1, cpuModel: '', boot: { kind: 'monitor' }, jit: 'on', clock: 'wall' };
  await createMachine(config, { serialOutput: () => undefined });
}

/** A machine with its inside, for tools that count what it executes, or compare two. */
export interface OpenMachine extends Machine {
  readonly cpu: Processor;
  readonly vmm: Vmm;
}

/** @param profile it counts what it executes, and is slower: for the choice of the interpreter's hot forms */
export async function createOpenMachine(config: MachineConfig, host: MachineHost, profile = false): Promise<OpenMachine> {
  return build(config, host, profile);
}

async function build(config: MachineConfig, host: MachineHost, profile: boolean): Promise<OpenMachine> {
  const model = findModel(config.cpuModel || DEFAULT_MODEL);
  if (!model) throw new BootError(`there is no CPU model '${config.cpuModel}'`);
  const topology = config.topology ?? flatTopology(config.cpus);
  const helperBytes = readHelpers();
  const helpers = await WebAssembly.compile(helperBytes);
  let vmm: Vmm | null = null;
  let retired = (): number => 0;
  let entryChecks = (_groups: number): number => 0;
  const sources = config.clock === 'instructions' ? repeatableSources(() => retired()) : hostSources();
  const clock = new VirtualClock(sources.time);
  const kept = config.translations !== undefined && config.jit === 'on' && !profile ? TranslationFile.open(config.translations, helperBytes, model) : null;
  const cpu = new Processor({
    helpers, helperBytes, prebuilt: readPrebuilt(), ramBytes: config.memoryBytes, vcpus: config.cpus, jit: config.jit, exact: config.clock === 'instructions', dumpRegions: process.env['VANDERPOOL_DUMP_REGIONS'], features: new Set<string>(model.features), profile, translations: kept?.translations,
    host: {
      mmioRead: (low, high, size) => vmm!.mmioRead(low, high, size),
      mmioReadHigh: () => vmm!.mmioReadHigh(),
      mmioWrite: (low, high, size, valueLow, valueHigh) => vmm!.mmioWrite(low, high, size, valueLow, valueHigh),
      portRead: (port, size) => vmm!.portRead(port, size),
      portWrite: (port, size, value) => vmm!.portWrite(port, size, value),
      timestamp: () => {
        const now = clock.nowNs();
        // By the instruction clock time stands still during a VM entry.
        if (config.clock !== 'instructions' && now >= (clock.nextDeadlineNs() ?? Infinity)) cpu.endEntry();
        return Math.floor(now * tscPerNs);
      },
      random: sources.random,
      aside: work => clock.aside(work),
      nestedSwitch: left => vmm!.nestedSwitch(left),
      fetchPage: page => {
        pager.fetch(page);
        // That takes as long as thousands of instructions, and somebody may wait for the slice's end.
        if (config.clock !== 'instructions') cpu.endEntry();
      },
      preservePage: page => pager.preserve(page),
      vmx: {
        msrRead: index => vmm!.msrRead(index),
        msrWrite: (index, low, high) => vmm!.msrWrite(index, low, high),
        hypercall: () => vmm!.hypercall(),
        entryChecks: groups => entryChecks(groups),
      },
    },
  });
  // State, look-aside tables and decoded code are used all over: with small pages the host's processor looks for their translations again and again.
  if (givesHugePagesWhenAsked()) {
    adviseHugePages(cpu.bytes.subarray(0, PAGE_CODE));
    adviseHugePages(cpu.bytes.subarray(CODE_ARENA, CODE_ARENA_END));
  }
  const pager: Pager = new Pager(cpu, host.preserved ?? null);
  retired = () => cpu.instructionsForClock;
  entryChecks = entryChecker(cpu, model);
  writeVmxTables(cpu.view, model, allowedCr4(model));
  cpu.setLimits({ cr4: allowedCr4(model), efer: allowedEfer(model), xcr0: BigInt(new Cpuid(model, topology).xcr0Allowed), physicalAddressBits: model.physicalAddressBits });
  cpu.setPageKind(0xa0000, 0x20000, PAGE_MMIO);
  const { boot } = config;
  const firmware = boot.kind === 'firmware' ? { code: boot.code, ...(boot.variables ? { variables: boot.variables.data } : {}) } : undefined;
  if (firmware) checkFirmware(firmware);
  const pc = new Pc({
    memory: cpu.ram, topology, clock, physicalAddressBits: model.physicalAddressBits, wallMs: sources.wallMs, keyboard: config.display !== undefined,
    ...(config.display ? { display: { ...config.display, map: (address: number, bytes: number) => cpu.mapDeviceMemory(address, bytes) } } : {}),
    testDevices: config.testDevices === true, iommu: config.iommu === 'on', cachingMode: config.cachingMode === true, codeWritten: (address, size) => cpu.noteDeviceWrite(address, size),
    memoryRead: (address, size) => cpu.noteDeviceRead(address, size),
    devices: createDevices(config, {
      time: clock, random: sources.random, serialOutput: (port, bytes) => host.serialOutput(port, bytes),
      release: pageReleaser(cpu.ram, (address, size) => cpu.noteDeviceWrite(address, size)),
    }),
    ...(firmware ? { firmware } : {}), rom: cpu.rom,
    // For whoever looks for the reason why firmware does not start.
    ...(process.env['VANDERPOOL_FIRMWARE_LOG'] === undefined ? {} : { firmwareDebug: byte => void process.stderr.write(String.fromCharCode(byte)) }),
    pageKinds: (address, length, kind) => cpu.setPageKind(address, length, pageKinds[kind]),
    onRelease: slot => host.released?.(slot), lineSettings: (port, settings) => host.lineSettings?.(port, settings),
    // A port that is a virtio console has a UART with nothing behind it.
    serialOutput: (port, bytes) => void (config.consoles?.some(row => row.port === port) || host.serialOutput(port, bytes)), assigned: config.devices ?? [],
    ...(config.restore ? { slots: savedSlots(config.restore.state) } : config.closed ? { slots: 0 } : {}),
  });
  const wallTime = new WallTime(clock, pc.rtc, sources.chance !== null);
  const variables = boot.kind === 'firmware' && boot.variables?.path && pc.flash ? new VariableStore(pc.flash, boot.variables.path) : null;
  const root = new Vmm(cpu, pc, model, topology, config.kvm === 'on' ? () => sources.wallBefore(clock.nowNs()) : null);
  vmm = root;
  const gdb = new GdbTarget({
    cpu, board: pc, vcpus: config.cpus, longMode: model.features.includes('lm'),
    end: () => {
      pc.exit ??= { reason: 'power-off' };
    },
  });
  if (boot.kind === 'monitor' && !model.features.includes('lm')) {
    throw new BootError(`the built-in monitor is a 64-bit program, and the CPU model '${model.name}' has no 64-bit mode; choose another model`);
  }
  let images: (() => BootImages) | null = null;
  const start = (): void => {
    pager.forget();
    if (boot.kind === 'monitor') return root.reset(pc.boot(plan => loadMonitor(plan, process.env.VANDERPOOL_VERSION ?? 'development')));
    if (boot.kind === 'firmware') return root.reset(pc.bootFirmware());
    if (images) return root.reset(pc.boot(images()));
    const read = boot.kind === 'deferred' ? readDeferred(host) : imagesOf(boot);
    root.reset(pc.boot(read));
    images = spoolImages(read);
  };
  if (config.restore) restoreMachine(config.restore, { pc, root, pager, sources, wallTime }, 'new');
  else start();
  const wake = (): void => {
    const state = pc.wake();
    if (state) root.reset(state);
    else pc.exit ??= { reason: 'reset' };
  };
  const goBack = (point: RestorePoint, from: Uint8Array | null): void => {
    pc.reset();
    pc.switchLayers();
    restoreMachine(point, { pc, root, pager, sources, wallTime }, from);
  };
  return {
    runSlice: () => {
      if (pc.power.sleep === 'waking') wake();
      const result = root.runSlice();
      if (result.kind === 'held') gdb.noticeStop();
      pc.flushOutput();
      variables?.follow(result.kind !== 'ran');
      return result;
    },
    serialInput: (port, bytes) => pc.serialInput(port, bytes),
    setPaused: paused => wallTime.setPaused(paused),
    powerButton: () => pc.powerButton(),
    reset: () => {
      pager.forget();
      clear(cpu.ram);
      pc.reset();
      start();
    },
    snapshot: (disks = false) => {
      const state = clock.hold(() => saveMachine({ pc, root, sources, wallTime }));
      if (disks) pc.switchLayers();
      return { memory: pager.memory, state, pages: pager.begin() };
    },
    fillPages: milliseconds => pager.fill(milliseconds),
    statistics: () => ({
      instructions: cpu.instructions, exits: root.exits, memoryBytes: config.memoryBytes,
      engine: { ...cpu.jit?.counters, formsCompiled: cpu.formsCompiled, instructionsDecoded: cpu.translator.instructionsDecoded },
    }),
    prepareNextRun: () => kept !== null && cpu.jit?.prepareNextRun() === true,
    ended: hurry => {
      cpu.jit?.keep(hurry ? 0 : KEEP_MS);
      kept?.save();
    },
    describe: () => root.describe(),
    get held() {
      return gdb.held;
    },
    answer: (kind, question) => answerQuestion({ cpu, pc, vmm: root, gdb, restore: goBack }, kind, question),
    cpu,
    vmm: root,
  };
}

function imagesOf(source: Extract<LoadedBoot, { kind: 'image' }>): BootImages {
  const { kernel, initrd, append, modules } = source;
  return { kernel, ...(initrd ? { initrd } : {}), append, modules };
}

function readDeferred({ readBoot }: MachineHost): BootImages {
  const source = readBoot?.();
  if (source?.kind !== 'image') throw new BootError('this machine was restored without its boot files, and cannot be reset');
  return imagesOf(source);
}

/** What a machine that has ended may spend on optimising code for its next run. */
const KEEP_MS = 400;
const CLEAR_CHUNK = 65536;

/** Zeroes memory but writes only where something is: the host gives pages to what is written, and a guest has rarely touched all of its RAM. */
function clear(bytes: Uint8Array): void {
  const zero = new Uint8Array(CLEAR_CHUNK);
  for (let at = 0; at < bytes.length; at += CLEAR_CHUNK) {
    const chunk = bytes.subarray(at, at + CLEAR_CHUNK);
    if (Buffer.compare(chunk, zero.subarray(0, chunk.length)) !== 0) chunk.fill(0);
  }
}
