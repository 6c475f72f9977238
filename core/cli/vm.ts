/** `vanderpool vm ...`: the library's VMs. */
import type { Client } from '../contract/client.ts';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { formatMemory, formatSize, parseMemory } from '../contract/memory.ts';
import { serialLineText } from '../contract/serial.ts';
import { formatTopology } from '../contract/topology.ts';
import { slotNumber } from '../contract/hardware.ts';
import { parseBytes } from './disk.ts';
import { HOT_PLUG_SLOTS } from '../contract/limits.ts';
import { cardOf, inBootOrder, serialLines, virtioConsoles } from './hardware-options.ts';
import type { HardwareOptions } from './hardware-options.ts';
import { ContractError } from '../contract/errors.ts';
import { defaultSerial, differentTags } from '../contract/vm.ts';
import type { DiskConfig, NetworkConfig } from '../contract/hardware.ts';
import type { SerialPortConfig, Vm, VmChanges } from '../contract/vm.ts';
import { changesFrom, wholeNumber } from './machine-options.ts';
import type { MachineOptions } from './machine-options.ts';
import { list, show, table, time } from './output.ts';
import { saving } from './progress.ts';
import { withEngine } from './session.ts';
import type { CommonOptions } from './session.ts';
import { badArgument } from './status.ts';

export interface EditOptions extends MachineOptions, CommonOptions {
  readonly name?: string;
  readonly group?: string;
  readonly tags?: string;
  readonly notes?: string;
  readonly monitor?: boolean;
  readonly autostart?: string;
  readonly schedule?: string;
  readonly console?: readonly string[];
}

export async function createVm(name: string, options: EditOptions): Promise<void> {
  const config = { ...changes(options), name };
  const vm = await withEngine(options, (client) => client.call('vm.create', { config }));
  show(vm, options.json === true, () => [`Created "${vm.config.name}".`, ...missingFiles(vm)].join('\n'));
}

export async function editVm(reference: string, options: EditOptions): Promise<void> {
  await answerWithVm(options, async (client) => {
    const before = await client.call('vm.get', { vm: reference });
    const given = changes(options, before);
    if (Object.keys(given).length === 0) throw badArgument('There is nothing to change.', 'Name what to change, such as --memory 1G; see `vanderpool vm edit --help`.');
    return client.call('vm.edit', { vm: before.id, changes: given });
  }, (vm) => [`Changed "${vm.config.name}".`, ...missingFiles(vm)].join('\n'));
}

/** What a VM needs and this machine does not have yet, a line each: it may come before the VM starts. */
function missingFiles({ config: { boot, firmware, disks, shares } }: Vm): string[] {
  const image = boot.kind === 'image' && firmware === '' ? [boot.kernel, boot.initrd ?? '', ...boot.modules.map(({ path }) => path)] : [];
  const paths = [...image, ...(firmware === 'bios' || firmware === 'uefi' ? [] : [firmware]), ...disks.map(({ path }) => path), ...shares.map(({ folder }) => folder)];
  return paths.filter((path) => path !== '' && !existsSync(path)).map((path) => `It does not start without "${path}", which is not there.`);
}

export async function listVms(options: CommonOptions): Promise<void> {
  const vms = await withEngine(options, (client) => client.call('vm.list', {}));
  show(vms, options.json === true, (all) => {
    if (all.length === 0) return 'The library is empty. Create a VM with `vanderpool vm create NAME`.';
    const [grouped, tagged] = [all.some(({ config }) => config.group !== ''), all.some(({ config }) => config.tags.length > 0)];
    const head = ['NAME', 'STATE', 'MEMORY', ...(grouped ? ['GROUP'] : []), ...(tagged ? ['TAGS'] : []), 'BOOTS'];
    return table(head, all.map(({ config, state }) => [
      config.name, state, formatMemory(config.memoryBytes), ...(grouped ? [config.group] : []), ...(tagged ? [config.tags.join(' ')] : []), bootText(config),
    ]));
  });
}

export async function showVm(reference: string, options: CommonOptions): Promise<void> {
  const vm = await withEngine(options, (client) => client.call('vm.get', { vm: reference }));
  show(vm, options.json === true, describeVm);
}

export async function tagVm(reference: string, tags: readonly string[], options: CommonOptions): Promise<void> {
  await changeTags(reference, options, ({ config }) => differentTags([...config.tags, ...tags]));
}

export async function untagVm(reference: string, tags: readonly string[], options: CommonOptions): Promise<void> {
  const given = new Set(tags.map((tag) => tag.toLowerCase()));
  await changeTags(reference, options, ({ config }) => {
    const missing = tags.find((tag) => !config.tags.some((one) => one.toLowerCase() === tag.toLowerCase()));
    if (missing !== undefined) throw new ContractError('not-found', `"${config.name}" has no tag "${missing}".`, config.tags.length === 0 ? 'It has none.' : `It has ${config.tags.join(', ')}.`);
    return config.tags.filter((tag) => !given.has(tag.toLowerCase()));
  });
}

async function changeTags(reference: string, options: CommonOptions, change: (vm: Vm) => string[]): Promise<void> {
  await answerWithVm(options, async (client) => {
    const vm = await client.call('vm.get', { vm: reference });
    return client.call('vm.edit', { vm: vm.id, changes: { tags: change(vm) } });
  }, ({ config: { name, tags } }) => (tags.length === 0 ? `"${name}" has no tags now.` : `"${name}" has the tags ${tags.join(', ')}.`));
}

type Verb = 'reset' | 'pause' | 'suspend' | 'resume';
const verbs: Readonly<Record<Verb, string>> = { reset: 'Reset', pause: 'Paused', suspend: 'Suspended', resume: 'Resumed' };

export async function startVm(reference: string, options: CommonOptions & { readonly withoutMissing?: boolean }): Promise<void> {
  const withoutMissing = options.withoutMissing === true;
  await answerWithVm(options, (client) => client.call('vm.start', { vm: reference, withoutMissing }), (vm) => `Started "${vm.config.name}".`);
}

export async function commandVm(verb: Verb, reference: string, options: CommonOptions): Promise<void> {
  const command = (client: Client): Promise<Vm> => client.call(`vm.${verb}`, { vm: reference });
  const vm = verb === 'suspend' ? await saving(options, reference, command) : await withEngine(options, command);
  show(vm, options.json === true, ({ config }) => `${verbs[verb]} "${config.name}".`);
}

export async function stopVm(reference: string, options: CommonOptions & { readonly force?: boolean }): Promise<void> {
  const force = options.force === true;
  await answerWithVm(options, (client) => client.call('vm.stop', { vm: reference, force }), (vm) => {
    return force ? `Stopped "${vm.config.name}".` : `Pressed the power button of "${vm.config.name}"; --force pulls its plug.`;
  });
}

export async function plugCard(reference: string, options: CommonOptions & HardwareOptions): Promise<void> {
  const card = cardOf(options);
  await answerWithVm(options, (client) => client.call('vm.plug', { vm: reference, card }), (vm) => {
    const device = card.kind === 'disk' ? vm.config.disks.at(-1) : vm.config.networks.at(-1);
    return `Plugged it into slot ${device?.slot ?? 0} of "${vm.config.name}".`;
  });
}

export async function linkCable(reference: string, number: string, state: string, options: CommonOptions): Promise<void> {
  if (state !== 'up' && state !== 'down') throw badArgument(`"${state}" is none of up, down.`);
  const position = /^[1-9]\d?$/.test(number) ? Number(number) : 0;
  if (position === 0) throw badArgument(`"${number}" is no network interface.`, 'Interfaces are counted from 1; `vanderpool vm show` lists them.');
  await answerWithVm(options, (client) => client.call('vm.link', { vm: reference, network: position - 1, up: state === 'up' }), (vm) => {
    return `The cable of interface ${position} of "${vm.config.name}" is ${state === 'up' ? 'plugged in' : 'pulled'}.`;
  });
}

/** @param file an image, or `eject` */
export async function changeMedium(reference: string, file: string, options: CommonOptions & { readonly drive?: string; readonly force?: boolean }): Promise<void> {
  const path = file === 'eject' ? '' : resolve(file);
  const number = options.drive === undefined ? 1 : wholeNumber('--drive', options.drive);
  await answerWithVm(options, async (client) => {
    const { id, config } = await client.call('vm.get', { vm: reference });
    const drives = config.disks.flatMap(({ kind }, index) => (kind === 'cdrom' ? [index] : []));
    const disk = drives[number - 1];
    if (disk === undefined) throw badArgument(`The VM "${config.name}" has ${drives.length} CD-ROM drives.`, 'Give it one with --cdrom empty before it starts.');
    return client.call('vm.medium', { vm: id, disk, path, force: options.force === true });
  }, (vm) => (path === '' ? `Drive ${number} of "${vm.config.name}" is empty.` : `"${path}" is in drive ${number} of "${vm.config.name}".`));
}

export async function growDisk(reference: string, number: string, text: string, options: CommonOptions): Promise<void> {
  const disk = wholeNumber('disk', number) - 1;
  if (disk < 0) throw badArgument('Disks are counted from 1.', '`vanderpool vm show` lists them.');
  const bytes = parseBytes('size', text);
  await answerWithVm(options, (client) => client.call('vm.grow', { vm: reference, disk, bytes }), (vm) => `Disk ${number} of "${vm.config.name}" has ${formatSize(bytes)}.`);
}

/** Without a size it is asked what the balloon holds. */
export async function setBalloon(reference: string, size: string | undefined, options: CommonOptions): Promise<void> {
  const bytes = size === undefined ? null : size === '0' ? 0 : parseMemory(size);
  const state = await withEngine(options, (client) => client.call('vm.balloon', { vm: reference, bytes }));
  show(state, options.json === true, ({ targetBytes, inflatedBytes }) => (targetBytes + inflatedBytes === 0
    ? 'The guest has all of its memory.'
    : `The guest is asked to do without ${formatMemory(targetBytes)}, and does without ${formatMemory(inflatedBytes)}.`));
}

export async function askForScreen(reference: string, text: string, options: CommonOptions): Promise<void> {
  const [, width, height] = /^(\d{1,5})x(\d{1,5})$/.exec(text) ?? [];
  if (width === undefined || height === undefined) throw badArgument(`"${text}" is no size of a screen.`, 'Write WIDTHxHEIGHT in pixels, such as 1280x800.');
  const size = { width: Number(width), height: Number(height) };
  await withEngine(options, (client) => client.call('display.input', { vm: reference, input: { size } }));
  show({ size }, options.json === true, () => `The guest is asked for ${text}.`);
}

export async function unplugCard(reference: string, text: string, options: CommonOptions & { readonly force?: boolean }): Promise<void> {
  const slot = slotNumber.safeParse(Number(text));
  if (!slot.success) throw badArgument(`"${text}" is no slot.`, `Slots are 1 to ${HOT_PLUG_SLOTS}; \`vanderpool vm show\` tells what is in them.`);
  await answerWithVm(options, (client) => client.call('vm.unplug', { vm: reference, slot: slot.data, force: options.force === true }), (vm) => `Slot ${slot.data} of "${vm.config.name}" is empty.`);
}

export async function cloneVm(reference: string, name: string, options: CommonOptions & { readonly full?: boolean }): Promise<void> {
  const full = options.full === true;
  const made = await saving(options, reference, (client) => client.call('vm.clone', { vm: reference, name, full }));
  show(made, options.json === true, ({ config, state }) => `Created "${config.name}"; it is ${state}.`);
}

export async function moveVm(reference: string, text: string, options: CommonOptions): Promise<void> {
  const place = wholeNumber('place', text);
  if (place < 1) throw badArgument('Places are counted from 1.', '`vanderpool vm list` shows them.');
  const vms = await withEngine(options, (client) => client.call('vm.move', { vm: reference, position: place - 1 }));
  show(vms, options.json === true, () => `Moved "${reference}".`);
}

export async function removeVm(reference: string, options: CommonOptions): Promise<void> {
  await withEngine(options, (client) => client.call('vm.remove', { vm: reference }));
  show({ removed: reference }, options.json === true, () => `Removed "${reference}".`);
}

export async function describeMachine(reference: string, options: CommonOptions): Promise<void> {
  const answer = await withEngine(options, (client) => client.call('vm.describe', { vm: reference }));
  show(answer, options.json === true, ({ text }) => text);
}

export async function listEvents(reference: string | undefined, options: CommonOptions & { readonly limit: string }): Promise<void> {
  const input = { limit: Number(options.limit), ...(reference === undefined ? {} : { vm: reference }) };
  const events = await withEngine(options, (client) => client.call('events.list', input));
  const rows = events.toReversed().map(({ at, vmName, kind, detail }) => [time(at), vmName ?? '', kind, detail.split('\n')[0] ?? '']);
  show(events, options.json === true, () => table(['TIME', 'VM', 'WHAT', 'DETAIL'], rows));
}

async function answerWithVm(options: CommonOptions, action: (client: Client) => Promise<Vm>, text: (vm: Vm) => string): Promise<void> {
  show(await withEngine(options, action), options.json === true, text);
}

/** What the engine does with the VM by itself. */
function keepingFrom({ autostart, schedule }: EditOptions): VmChanges {
  if (autostart !== undefined && autostart !== 'on' && autostart !== 'off') throw badArgument(`--autostart: "${autostart}" is none of on, off.`);
  const [, minutes, keep] = /^(\d+),(\d+)$/.exec(schedule ?? '') ?? [];
  if (schedule !== undefined && schedule !== 'none' && minutes === undefined) throw badArgument(`--schedule: "${schedule}" is no pair of numbers.`, 'Write 60,24 for a snapshot an hour of which a day is kept, or none.');
  return {
    ...(autostart === undefined ? {} : { autostart: autostart === 'on' }),
    ...(schedule === undefined ? {} : { schedule: schedule === 'none' ? null : { minutes: Number(minutes), keep: Number(keep) } }),
  };
}

function changes(options: EditOptions, before?: Vm): VmChanges {
  if (options.monitor === true && options.kernel !== undefined) throw badArgument('--monitor and --kernel exclude each other.');
  const ports = before?.config.serial ?? [...defaultSerial];
  const attached = options.console === undefined ? ports : consolesAt(options.console, ports);
  const connected = options.serial === undefined ? attached : serialLines(options.serial, attached);
  const serial = options.virtioConsole === undefined ? connected : virtioConsoles(options.virtioConsole, connected);
  return {
    ...inBootOrder(changesFrom(options, before?.config.boot), options.bootOrder, before?.config.disks ?? []), ...keepingFrom(options),
    ...(options.monitor === true ? { boot: { kind: 'monitor' as const }, firmware: '' } : {}),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.group === undefined ? {} : { group: options.group === 'none' ? '' : options.group }),
    ...(options.tags === undefined ? {} : { tags: tagsFrom(options.tags) }),
    ...(options.notes === undefined ? {} : { notes: options.notes }),
    ...(serial === ports ? {} : { serial }),
  };
}

function tagsFrom(text: string): string[] {
  return text === 'none' ? [] : differentTags(text.split(',').map((tag) => tag.trim()));
}

/** The ports named have a console, the others none; labels stay. */
function consolesAt(names: readonly string[], before: readonly SerialPortConfig[]): SerialPortConfig[] {
  const wrong = names.find((name) => !/^COM[1-4]$/i.test(name));
  if (wrong !== undefined) throw badArgument(`--console: "${wrong}" is no serial port.`, 'Ports are COM1 to COM4.');
  const ports = names.map((name) => Number(name.at(-1)) - 1);
  return before.map(({ line, ...port }, number) => (ports.includes(number) ? { ...port, attach: 'console', ...(line === undefined ? {} : { line }) } : { ...port, attach: 'none' }));
}

function bootText({ boot, firmware }: Vm['config']): string {
  if (firmware !== '') return firmware === 'bios' ? 'BIOS' : firmware === 'uefi' ? 'UEFI' : firmware;
  return boot.kind === 'monitor' ? 'built-in monitor' : boot.kernel;
}

function slotText(slot: number | undefined): string {
  return slot === undefined ? '' : `, slot ${slot}`;
}

function diskText({ path, kind, bus, readOnly, slot }: DiskConfig): string {
  return `${path || 'empty'} (${kind === 'cdrom' ? 'CD-ROM' : bus}${readOnly && kind === 'disk' ? ', read-only' : ''}${slotText(slot)})`;
}

function networkText({ model, attach, mac, forwards, slot, switchName, switchDhcp, linkUp }: NetworkConfig): string {
  const ports = forwards.map(({ protocol, hostAddress, hostPort, guestPort }) => `, ${protocol} ${hostAddress}:${hostPort} to ${guestPort}`).join('');
  return `${model}${mac === '' ? '' : ` ${mac}`}${attach === 'switch' ? `, switch ${switchName}${switchDhcp ? ' with DHCP' : ''}` : ''}${attach === 'none' || !linkUp ? ', cable unplugged' : ''}${slotText(slot)}${ports}`;
}

function describeVm({ id, config, state, problem, exit, startedAt, createdAt, processId }: Vm): string {
  const { boot, serial } = config;
  const image = boot.kind === 'image' && config.firmware === '' ? boot : null;
  return list([
    ['Name', config.name], ['Group', config.group], ['Tags', config.tags.join(' ')], ['State', state], ['Started', time(startedAt)], ['Process', processId === null ? '' : String(processId)],
    ['Waits for', problem === null ? '' : `room on a disk of the host: ${problem}`],
    ['Last end', exit ? `${exit.reason}, ${time(exit.at)}${exit.detail === '' ? '' : `\n${exit.detail}`}` : ''],
    ['Memory', formatMemory(config.memoryBytes)], ['Processors', [String(config.cpus), config.cpuModel, config.topology ? formatTopology(config.topology) : ''].filter(Boolean).join(' ')],
    ['JIT', config.jit], ['Clock', config.clock], ['GDB', config.gdb === null ? '' : `127.0.0.1:${config.gdb.port}${config.gdb.wait ? ', waits for it' : ''}`],
    ['IOMMU', `${config.iommu}${config.cachingMode ? ', caching mode' : ''}`], ['USB', config.usb], ['KVM', config.kvm], ['Boots', bootText(config)], ['Initrd', image?.initrd ?? ''], ['Command line', image?.append ?? ''],
    ['Modules', image?.modules.map(({ path, commandLine }) => `${path} ${commandLine}`.trim()).join('\n') ?? ''],
    ['Disks', config.disks.map(diskText).join('\n')], ['Networks', config.networks.map(networkText).join('\n')],
    ['Autostart', config.autostart ? 'yes' : ''], ['Schedule', config.schedule ? `a snapshot every ${config.schedule.minutes} minutes, ${config.schedule.keep} kept` : ''],
    ['Balloon', config.balloon ? 'yes' : ''], ['Sockets', config.vsock ?? ''],
    ['Shared folders', config.shares.map(({ folder, tag, writable }) => `${folder} as ${tag}${writable ? ', writable' : ''}`).join('\n')],
    ['Consoles', serial.flatMap(({ attach, device, line }, port) => (attach === 'console' ? [`COM${port + 1}${device === 'virtio' ? ' (virtio)' : ''}${line === undefined ? '' : ` (${serialLineText(line)})`}`] : [])).join(', ')],
    ['Notes', config.notes], ['Created', time(createdAt)], ['Id', id],
  ]);
}
