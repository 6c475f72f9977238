/** Disks and network interfaces of a VM, as people configure them. */
import * as z from 'zod';
import { HOT_PLUG_SLOTS } from './limits.ts';

export const DISKS_MAXIMUM = 16;
export const NETWORKS_MAXIMUM = 8;
export const FORWARDS_MAXIMUM = 64;

export const filePath = z.string().min(1, 'a file is needed').max(4096).refine((path) => !path.includes('\0'), 'a path has no NUL character');

export const diskKind = z.enum(['disk', 'cdrom']);
export const diskBus = z.enum(['virtio', 'nvme', 'ahci', 'scsi', 'usb']);
export const diskFormat = z.enum(['auto', 'raw', 'qcow2']);

/** The hot-plug slot that a device is in; absent: it is on the board, and comes and goes with the machine's power only. */
export const slotNumber = z.int().min(1, `slots are 1 to ${HOT_PLUG_SLOTS}`).max(HOT_PLUG_SLOTS, `slots are 1 to ${HOT_PLUG_SLOTS}`);
const slot = slotNumber.optional();

export const diskConfig = z.strictObject({
  /** Empty for a CD-ROM drive without a medium. */
  path: z.union([filePath, z.literal('')]),
  kind: diskKind,
  /** What the guest sees the disk as. */
  bus: diskBus,
  /** `auto` recognises the image by its first bytes. */
  format: diskFormat,
  readOnly: z.boolean(),
  slot,
}).refine(({ kind, path }) => kind === 'cdrom' || path !== '', { path: ['path'], message: 'a file is needed' });
export type DiskConfig = z.infer<typeof diskConfig>;

/** A CD-ROM drive is on this bus unless it is on `scsi`. */
export const driveBus = 'ahci';

export const diskDefaults: Omit<DiskConfig, 'path'> = { kind: 'disk', bus: 'virtio', format: 'auto', readOnly: false };

const tcpPort = z.int().min(1, 'ports are numbers from 1 to 65535').max(65535, 'ports are numbers from 1 to 65535');
const ipv4 = z.ipv4('an IPv4 address such as 127.0.0.1 is needed');

/** Connections to a port of the host that go to a port of the guest. */
export const portForward = z.strictObject({ protocol: z.enum(['tcp', 'udp']), hostAddress: ipv4, hostPort: tcpPort, guestPort: tcpPort });
export type PortForward = z.infer<typeof portForward>;

export const networkConfig = z.strictObject({
  /** What the guest sees the interface as. */
  model: z.enum(['virtio', 'e1000e']),
  /** `user`: the host's network behind address translation; `switch`: the other VMs on a switch of that name; `none`: a cable that leads nowhere. */
  attach: z.enum(['user', 'switch', 'none']),
  /** Of the switch; other interfaces mind no name. */
  switchName: z.union([z.literal(''), z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'the name of a switch has up to 32 small letters, digits and dashes')]).default(''),
  /** Whether the guest gets an address by DHCP on a switch. */
  switchDhcp: z.boolean().default(false),
  /** Whether the cable is plugged in. */
  linkUp: z.boolean().default(true),
  /** Whether firmware starts a system from this interface, before the disks or behind them. */
  netBoot: z.enum(['off', 'first', 'last']).default('off'),
  /** What `user` tells it to start: a file of the host, whose folder the gateway then serves by TFTP, or an address such as http://10.0.2.2/boot.ipxe; empty: nothing. */
  bootFile: z.string().max(255, 'a boot file has up to 255 characters').refine((text) => !text.includes('\0'), 'a path has no NUL character').default(''),
  /** Such as `52:54:00:12:34:56`; empty: chosen by the VM's name and the interface's number. */
  mac: z.union([z.literal(''), z.string().regex(/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/, 'a MAC address is six pairs of hexadecimal digits, the first of them even')]),
  forwards: z.array(portForward).max(FORWARDS_MAXIMUM, `at most ${FORWARDS_MAXIMUM} port forwards are possible`),
  /** Whether the guest may reach services on the host's own loopback addresses, through the gateway's address. */
  hostLoopback: z.boolean(),
  /** File that gets every frame, for Wireshark; null: none. */
  capture: filePath.nullable(),
  slot,
}).refine(({ attach, switchName }) => attach !== 'switch' || switchName !== '', { message: 'the switch needs a name', path: ['switchName'] });
export type NetworkConfig = z.infer<typeof networkConfig>;

/** Said where a machine whose runs repeat has a network. */
export const unrepeatableNetwork = 'By the instruction count a run repeats, but for the network: frames arrive when the host has them.';

export const networkDefaults: NetworkConfig = { model: 'virtio', attach: 'user', mac: '', forwards: [], hostLoopback: false, capture: null, switchName: '', switchDhcp: false, linkUp: true, netBoot: 'off', bootFile: '' };

/** What can be put into a hot-plug slot while a VM runs; without a slot of its own it gets the first that is empty. */
export const card = z.discriminatedUnion('kind', [z.strictObject({ kind: z.literal('disk'), disk: diskConfig }), z.strictObject({ kind: z.literal('network'), network: networkConfig })]);
export type Card = z.infer<typeof card>;
