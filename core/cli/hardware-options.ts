/** `--disk`, `--cdrom` and `--net`: each adds one device; the word `none` means that there shall be none. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { diskBus, diskDefaults, diskFormat, driveBus, networkConfig, networkDefaults, slotNumber } from '../contract/hardware.ts';
import { HOT_PLUG_SLOTS } from '../contract/limits.ts';
import type { Card, DiskConfig, NetworkConfig, PortForward } from '../contract/hardware.ts';
import { serialLine, serialLineKinds } from '../contract/serial.ts';
import type { SerialLine } from '../contract/serial.ts';
import { tagFor } from '../contract/paravirtual.ts';
import type { ShareConfig } from '../contract/paravirtual.ts';
import type { SerialPortConfig, VmChanges } from '../contract/vm.ts';
import { badArgument } from './status.ts';

export interface HardwareOptions {
  readonly disk?: readonly string[];
  readonly cdrom?: readonly string[];
  readonly net?: readonly string[];
  readonly bootOrder?: string;
  readonly balloon?: string;
  readonly share?: readonly string[];
  readonly vsock?: string;
  readonly virtioConsole?: readonly string[];
  readonly serial?: readonly string[];
}

export function addHardwareOptions(command: Command): Command {
  return command
    .option('--disk <file[,bus=...,format=raw|qcow2,readonly,slot=1..4]>', `disk image; may be repeated; buses: ${diskBus.options.join(', ')} (default: ${diskDefaults.bus})`, collect)
    .option('--cdrom <file|empty[,bus=ahci|scsi]>', 'ISO image in a CD-ROM drive, or an empty drive; may be repeated', collect)
    .option('--boot-order <numbers>', 'order in which firmware tries disks and drives, such as 2,1: they are counted disks first, and those that are not named follow')
    .option('--net <user|switch=NAME|none[,forward=tcp:8080:80,dhcp,mac=...,model=...,capture=FILE,slot=1..4]>', 'network interface; may be repeated; `user` shares the network of this machine, `switch=NAME` leads to other VMs', collect);
}

/** Devices that belong to a machine and to no slot. */
export function addParavirtualOptions(command: Command): Command {
  return command
    .option('--balloon <on|off>', 'a memory balloon: pages that the guest does without go back to this machine (default: off)')
    .option('--share <folder[,tag=NAME,write]>', 'folder of this machine for the guest to mount by 9P, read-only unless "write" is said; may be repeated; "none": none', collect)
    .option('--vsock <path>', 'Unix socket that stands for the guest\'s sockets (AF_VSOCK); "none": none')
    .option('--virtio-console <port>', 'COM1 to COM4: the port is a virtio console (hvc0, ...) instead of a UART; may be repeated; "none": all are UARTs', collect);
}

export function paravirtualChanges({ balloon, share, vsock }: HardwareOptions): VmChanges {
  if (balloon !== undefined && balloon !== 'on' && balloon !== 'off') throw badArgument(`--balloon: "${balloon}" is none of on, off.`);
  return {
    ...(balloon === undefined ? {} : { balloon: balloon === 'on' }),
    ...(share === undefined ? {} : { shares: share.filter(given).map(parseShare) }),
    ...(vsock === undefined ? {} : { vsock: vsock === 'none' ? null : resolve(vsock) }),
  };
}

/** The ports named are virtio consoles, the others UARTs. */
export function virtioConsoles(names: readonly string[], before: readonly SerialPortConfig[]): SerialPortConfig[] {
  const ports = names.filter(given).map((name) => portOf('--virtio-console', name));
  return before.map(({ device: _device, ...rest }, port) => ({ ...rest, ...(ports.includes(port) ? { device: 'virtio' as const } : {}) }));
}

/** `COM2=tcp-server:4000`: what is connected to ports besides their consoles; those that are not named stay as they are. */
export function serialLines(texts: readonly string[], before: readonly SerialPortConfig[]): SerialPortConfig[] {
  const ports = [...before];
  for (const text of texts) {
    const [, name = '', kind = '', target = ''] = /^([^=]*)=([^:]*):?(.*)$/.exec(text) ?? [];
    const port = portOf('--serial', name);
    const { line: _line, ...rest } = ports[port] ?? { attach: 'none', label: name.toUpperCase() };
    if (kind === 'none') ports[port] = { ...rest, attach: 'none' };
    else if (kind === 'console') ports[port] = { ...rest, attach: 'console' };
    else ports[port] = { ...rest, attach: 'console', line: parseLine(text, kind, target) };
  }
  return ports;
}

function parseLine(text: string, kind: string, target: string): SerialLine {
  const known = serialLineKinds.find((candidate) => candidate === kind);
  const examples = 'Write COM2=console, COM2=tcp-server:4000, COM2=tcp-client:4000, COM2=pty:LINK, COM2=file:FILE or COM2=none.';
  if (known === undefined) throw badArgument(`--serial: "${text}" connects a port with nothing that is known here.`, examples);
  const line = serialLine.safeParse(known === 'pty' || known === 'file' ? { kind: known, path: target === '' ? '' : resolve(target) } : { kind: known, port: Number(target) });
  if (!line.success) throw badArgument(`--serial: "${text}": ${line.error.issues[0]?.message ?? 'this cannot be'}.`, examples);
  return line.data;
}

function portOf(option: string, name: string): number {
  if (!/^COM[1-4]$/i.test(name)) throw badArgument(`${option}: "${name}" is no serial port.`, 'Ports are COM1 to COM4.');
  return Number(name.at(-1)) - 1;
}

function parseShare(text: string): ShareConfig {
  const [folder, properties] = splitFile(text, /,(?=tag=|write(?:,|$))/);
  const read = new Properties('--share', properties, ['tag', 'write']);
  const path = resolve(folder);
  return { folder: path, tag: read.text('tag') ?? tagFor(path), writable: read.flag('write') };
}

/** Disks and drives together, in the order given, disks first. An option that is there replaces all devices of its kind. */
export function hardwareChanges({ disk, cdrom, net }: HardwareOptions): VmChanges {
  const disks = disk === undefined && cdrom === undefined ? {} : { disks: [...(disk ?? []).filter(given).map(parseDisk), ...(cdrom ?? []).filter(given).map(parseDrive)] };
  return { ...disks, ...(net === undefined ? {} : { networks: net.filter((text) => text !== 'none').map(parseNetwork) }) };
}

/** Puts disks and drives into the order in which firmware tries them. @param before those of the configuration, where the options name none */
export function inBootOrder(changes: VmChanges, order: string | undefined, before: readonly DiskConfig[]): VmChanges {
  if (order === undefined) return changes;
  const disks = changes.disks ?? before;
  const places = order.split(',').map((text) => Number(text) - 1);
  const wrong = order.split(',').find((_text, index) => disks[places[index] ?? -1] === undefined || places.indexOf(places[index] ?? -1) !== index);
  if (wrong !== undefined) throw badArgument(`--boot-order: "${wrong}" is no disk or drive, or is there twice.`, `There are ${disks.length}, counted from 1.`);
  return { ...changes, disks: [...places.flatMap((place) => disks.slice(place, place + 1)), ...disks.filter((_disk, index) => !places.includes(index))] };
}

/** The one card that the options name. */
export function cardOf(options: HardwareOptions): Card {
  const { disks = [], networks = [] } = hardwareChanges(options);
  const cards: readonly Card[] = [...disks.map((disk) => ({ kind: 'disk', disk }) as const), ...networks.map((network) => ({ kind: 'network', network }) as const)];
  const [card] = cards;
  if (card === undefined || cards.length > 1) throw badArgument('One card at a time is plugged in.', 'Name it by --disk, --cdrom or --net.');
  return card;
}

function given(text: string): boolean {
  return text !== 'none';
}

/** `FILE,name=value,...`: the file ends at the first comma before a word that is known here. */
function parseDisk(text: string): DiskConfig {
  const [path, properties] = splitFile(text, /,(?=(?:bus|format|slot)=|readonly(?:,|$))/);
  const read = new Properties('--disk', properties, ['bus', 'format', 'slot', 'readonly']);
  return {
    path: resolve(path), kind: 'disk', bus: read.word('bus', diskBus.options) ?? diskDefaults.bus, format: read.word('format', diskFormat.options) ?? diskDefaults.format,
    readOnly: read.flag('readonly'), ...read.slot(),
  };
}

function parseDrive(text: string): DiskConfig {
  const [path, properties] = splitFile(text, /,(?=bus=)/);
  const read = new Properties('--cdrom', properties, ['bus']);
  return { path: path === 'empty' ? '' : resolve(path), kind: 'cdrom', bus: read.word('bus', [driveBus, 'scsi']) ?? driveBus, format: 'raw', readOnly: true };
}

function splitFile(text: string, comma: RegExp): [string, string] {
  const at = text.search(comma);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function parseNetwork(text: string): NetworkConfig {
  const [attach = '', ...rest] = text.split(',');
  const [, switchName] = /^switch=(.*)$/.exec(attach) ?? [];
  if (attach !== 'user' && switchName === undefined) {
    throw badArgument(`--net: "${attach}" is none of user, switch=NAME, none.`, 'Write --net user to share the network of this machine, --net switch=NAME for a network of VMs.');
  }
  const read = new Properties('--net', rest.join(','), ['mac', 'model', 'capture', 'link', 'slot', 'boot', ...(switchName === undefined ? ['forward', 'host-loopback', 'boot-file'] : ['dhcp'])]);
  const capture = read.text('capture');
  const bootFile = read.text('boot-file') ?? '';
  return {
    ...networkDefaults, attach: switchName === undefined ? 'user' : 'switch', switchName: switchName ?? '', switchDhcp: read.flag('dhcp'),
    netBoot: read.word('boot', ['first', 'last']) ?? 'off', bootFile: bootFile === '' || bootFile.includes('://') ? bootFile : resolve(bootFile),
    linkUp: read.word('link', ['up', 'down']) !== 'down', mac: (read.text('mac') ?? '').toLowerCase(),
    model: read.word('model', networkConfig.shape.model.options) ?? networkDefaults.model, hostLoopback: read.flag('host-loopback'),
    forwards: read.all('forward').map(parseForward), capture: capture === undefined ? null : resolve(capture), ...read.slot(),
  };
}

/** `[tcp|udp:][ADDRESS:]HOSTPORT:GUESTPORT`. */
function parseForward(text: string): PortForward {
  const match = /^(?:(tcp|udp):)?(?:(\d+\.\d+\.\d+\.\d+):)?(\d{1,5}):(\d{1,5})$/.exec(text);
  if (!match) throw badArgument(`--net: "${text}" is no port forward.`, 'Write forward=tcp:127.0.0.1:8080:80, or forward=8080:80.');
  return { protocol: match[1] === 'udp' ? 'udp' : 'tcp', hostAddress: match[2] ?? '127.0.0.1', hostPort: Number(match[3]), guestPort: Number(match[4]) };
}

function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** `name=value,name,...` with the names that an option knows. */
class Properties {
  readonly #option: string;
  readonly #pairs: readonly (readonly [string, string | null])[];

  constructor(option: string, text: string, known: readonly string[]) {
    this.#option = option;
    this.#pairs = text.split(',').filter((part) => part !== '').map((part) => {
      const at = part.indexOf('=');
      const name = at < 0 ? part : part.slice(0, at);
      if (!known.includes(name)) throw badArgument(`${option}: there is no property "${name}".`, `There are: ${known.join(', ')}.`);
      return [name, at < 0 ? null : part.slice(at + 1)] as const;
    });
  }

  all(name: string): string[] {
    return this.#pairs.flatMap(([key, value]) => {
      if (key === name && value === null) throw badArgument(`${this.#option}: ${name} needs a value.`, `Write ${name}=...`);
      return key === name && value !== null ? [value] : [];
    });
  }

  text(name: string): string | undefined {
    return this.all(name).at(-1);
  }

  word<const T extends string>(name: string, words: readonly T[]): T | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const word = words.find((candidate) => candidate === text);
    if (word === undefined) throw badArgument(`${this.#option}: ${name}=${text} is none of ${words.join(', ')}.`);
    return word;
  }

  /** The hot-plug slot of a device; nothing when it is to be on the board. */
  slot(): { readonly slot?: number } {
    const text = this.text('slot');
    if (text === undefined) return {};
    const slot = slotNumber.safeParse(Number(text));
    if (!slot.success) throw badArgument(`${this.#option}: there is no slot "${text}".`, `Slots are 1 to ${HOT_PLUG_SLOTS}.`);
    return { slot: slot.data };
  }

  flag(name: string): boolean {
    const pair = this.#pairs.find(([key]) => key === name);
    if (typeof pair?.[1] === 'string') throw badArgument(`${this.#option}: ${name} takes no value.`);
    return pair !== undefined;
  }
}
