/** The paravirtual devices of a machine that are no disks and no networks, on the core thread. */
import { VirtioBalloon } from '../devices/virtio/balloon.ts';
import type { ReleasePages } from '../devices/virtio/balloon.ts';
import { VirtioConsole } from '../devices/virtio/console.ts';
import { VirtioPci } from '../devices/virtio/pci.ts';
import { Virtio9p } from '../devices/virtio/p9.ts';
import { VirtioVsock } from '../devices/virtio/vsock.ts';
import { releaseMemory } from '../host/libc.ts';
import { FrameLink } from '../net/frameLink.ts';
import type { PciFunction } from '../platform/pci/function.ts';
import { ShareServer } from '../share/server.ts';
import type { MachineConfig } from './types.ts';

export interface Paravirtual {
  readonly functions: readonly PciFunction[];
  readonly balloon: VirtioBalloon | null;
  /** Offers received bytes to a serial port that is a virtio console; returns how many were taken, null for any other port. */
  serialInput(port: number, bytes: Uint8Array): number | null;
  poll(): void;
}

/** What these devices need of the machine. */
export interface ParavirtualHost {
  serialOutput(port: number, bytes: Uint8Array): void;
  readonly release: ReleasePages;
}

export function createParavirtual({ consoles = [], balloon: wanted, shares = [], vsock }: Pick<MachineConfig, 'consoles' | 'balloon' | 'shares' | 'vsock'>, host: ParavirtualHost): Paravirtual {
  const ports = consoles.map(({ port, name }) => ({ name, output: (bytes: Uint8Array) => host.serialOutput(port, bytes) }));
  const terminal = ports.length > 0 ? new VirtioConsole('virtio-console', ports) : null;
  const balloon = wanted === true ? new VirtioBalloon(host.release) : null;
  const folders = shares.map(({ folder, tag, writable }, index) => new Virtio9p(`virtio-9p-${index}`, tag, new ShareServer({ folder, readOnly: !writable })));
  const sockets = vsock ? new VirtioVsock(new FrameLink(vsock)) : null;
  const kinds = [terminal, balloon, ...folders, sockets];
  return {
    functions: kinds.flatMap((kind) => (kind === null ? [] : [new VirtioPci(kind)])),
    balloon,
    serialInput: (port, bytes) => {
      const index = consoles.findIndex((row) => row.port === port);
      return index < 0 || terminal === null ? null : terminal.receive(index, bytes);
    },
    poll: () => sockets?.poll(),
  };
}

const PAGE = 4096;
/** Below lie tables that firmware and systems share, and the display's window: no driver gives pages there away. */
const FIRST_RELEASED = 0x100000;

/** Gives whole pages of guest memory back to the host; `changing` is told before each, as before any other write of a device. */
export function pageReleaser(ram: Uint8Array, changing: (address: number, size: number) => void): ReleasePages {
  return (address, length) => {
    const first = Math.max(Math.ceil(address / PAGE) * PAGE, FIRST_RELEASED);
    const end = Math.min(Math.floor((address + length) / PAGE) * PAGE, ram.length);
    if (end <= first) return;
    for (let page = first; page < end; page += PAGE) changing(page, PAGE);
    releaseMemory(ram.subarray(first, end));
  };
}
