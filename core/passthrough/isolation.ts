/** The way of assigned devices' requests: through the guest's own unit, where it has one, then through the workstation's. */

import { messageFromMsi } from '../platform/interrupts.ts';
import type { Domain, HostIommu } from './hostIommu.ts';
import type { DmaRemapper } from '../platform/dma.ts';

interface Assigned {
  /** By which the workstation's unit knows the device. */
  readonly host: number;
  /** Address of the message that is its own there. */
  readonly message: number;
  /** What the guest wants its next message to be. */
  pending: () => void;
}

type Request = Parameters<DmaRemapper['translate']>[0];

export class Isolation implements DmaRemapper {
  private readonly host: HostIommu;
  private readonly domain: Domain;
  private readonly guest: DmaRemapper | null;
  /** By the requester ID that the guest sees. */
  private readonly assigned = new Map<number, Assigned>();

  /** @param guest the guest's unit, if it has one */
  constructor(host: HostIommu, memoryBytes: number, guest: DmaRemapper | null) {
    this.host = host;
    this.guest = guest;
    this.domain = host.createDomain(host.addMemory(memoryBytes));
  }

  /** Puts a device into this VM's domain. */
  assign(guestRequester: number, hostRequester: number): void {
    this.host.attach(hostRequester, this.domain);
    const entry: Assigned = { host: hostRequester, message: this.host.allowInterrupt(hostRequester, () => entry.pending()), pending: () => {} };
    this.assigned.set(guestRequester, entry);
  }

  release(guestRequester: number): void {
    const entry = this.assigned.get(guestRequester);
    if (entry === undefined) return;
    this.host.detach(entry.host);
    this.assigned.delete(guestRequester);
  }

  /** A page of this VM's memory, or null. */
  translate(request: Request): { readonly page: number } | null {
    const inGuest = this.guest === null ? request : this.guest.translate(request);
    const entry = this.assigned.get(request.source);
    if (inGuest === null || entry === undefined) return inGuest;
    const inHost = this.host.unit.translate({ ...request, source: entry.host, page: inGuest.page });
    if (inHost === null) return null;
    return { page: inHost.page - this.domain.region.base / 4096 };
  }

  /** Passes a device's message on as `send`; those of assigned devices go as the one message that is their own. */
  message(guestRequester: number, send: () => void): void {
    const entry = this.assigned.get(guestRequester);
    if (entry === undefined) return send();
    const compatible = messageFromMsi(entry.message, 0);
    if (compatible === null) return;
    entry.pending = send;
    this.host.unit.interrupt(entry.host, entry.message, 0, compatible);
    entry.pending = () => {};
  }
}

