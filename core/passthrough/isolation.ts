/** The way of assigned devices' requests: through the guest's own unit, where it has one, then through the workstation's. */

import { messageFromMsi } from '../platform/interrupts.ts';
import { interruptAddress } from './hostIommu.ts';
import type { Domain, HostIommu } from './hostIommu.ts';
import type { AssignedDevice } from '../contract/device.ts';
import type { DmaRequest } from '../vtd/stage.ts';
import type { Outcome } from '../vtd/remapping.ts';
import type { WalkTrace } from '../vtd/trace.ts';
import type { DmaRemapper } from '../platform/dma.ts';

/** A requester ID that no function of a host has. */
const noFunction = 0xffff;

/** How much of what passed a device's requests were. */
export interface AssignedCounts {
  requests: number;
  refused: number;
  interrupts: number;
}

interface Assigned {
  readonly device: AssignedDevice;
  readonly counts: AssignedCounts;
  /** By which the workstation's unit knows the device. */
  readonly host: number;
  /** Address of the message that is its own there. */
  readonly message: number;
  /** The requester ID that the guest sees, now: behind a bridge the guest numbers the bus. */
  readonly guest: () => number;
  /** What the guest wants its next message to be. */
  pending: () => void;
}

type Request = Parameters<DmaRemapper['translate']>[0];

export class Isolation implements DmaRemapper {
  readonly host: HostIommu;
  private readonly domain: Domain;
  /** Where the VM's memory begins in host-physical pages. */
  private readonly firstPage: number;
  private readonly guest: DmaRemapper | null;
  private readonly isOwn: (source: number) => boolean;
  /** A handful: searched at each request. */
  private readonly assigned: Assigned[] = [];

  /**
   * @param guest the guest's unit, if it has one
   * @param isOwn whether a requester ID is that of a device of the machine itself: those reach its memory, and nothing beyond
   */
  constructor(host: HostIommu, memoryBytes: number, guest: DmaRemapper | null, isOwn: (source: number) => boolean) {
    this.isOwn = isOwn;
    this.host = host;
    this.guest = guest;
    this.domain = host.createDomain(host.addMemory(memoryBytes));
    this.firstPage = this.domain.region.base / 4096;
  }

  /** Puts a device into this VM's domain. @param guest the requester ID that the guest sees, asked anew at each request */
  assign(guest: () => number, device: AssignedDevice): void {
    this.host.attach(device.requester, this.domain);
    const message = this.host.allowInterrupt(device.requester, () => entry.pending());
    const entry: Assigned = { device, counts: { requests: 0, refused: 0, interrupts: 0 }, host: device.requester, message, guest, pending: () => {} };
    this.assigned.push(entry);
  }

  /** @param id of the assigned device */
  release(id: string): void {
    const index = this.assigned.findIndex(({ device }) => device.id === id);
    const entry = this.assigned[index];
    if (entry === undefined) return;
    this.host.detach(entry.host);
    this.host.withdrawInterrupt(entry.message);
    this.assigned.splice(index, 1);
  }

  private find(requester: number): Assigned | undefined {
    return this.assigned.find(({ guest }) => guest() === requester);
  }

  /** Assigned devices by the requester ID that the guest sees, with what passed. */
  get devices(): readonly { readonly guest: number; readonly device: AssignedDevice; readonly counts: Readonly<AssignedCounts> }[] {
    return this.assigned.map(({ guest, device, counts }) => ({ guest: guest(), device, counts }));
  }

  /** What the workstation's tables say of an assigned device's request; null for a device that is not assigned. */
  explain(request: DmaRequest, trace: WalkTrace): Outcome | null {
    const entry = this.find(request.source);
    return entry === undefined ? null : this.host.unit.explain({ ...request, pasid: null, source: entry.host }, trace);
  }

  /** A page of this VM's memory, or null. */
  translate(request: Request): { readonly page: number } | null {
    const inGuest = this.guest === null ? request : this.guest.translate(request);
    const entry = this.find(request.source);
    if (entry === undefined) return this.isOwn(request.source) ? inGuest : this.refuse(request);
    entry.counts.requests++;
    const inHost = inGuest === null ? null : this.host.unit.translate({ source: entry.host, pasid: null, page: inGuest.page, write: request.write, execute: false, privileged: false });
    if (inHost !== null) return { page: inHost.page - this.firstPage };
    entry.counts.refused++;
    return null;
  }

  /** An ID that no device has, or one that was released: the workstation's unit does not know it either, and records that. */
  private refuse(request: Request): null {
    this.host.unit.translate({ ...request, source: this.stranger(request.source) });
    return null;
  }

  /** What the workstation's unit calls a requester that is nobody's: never as it calls an assigned device. */
  private stranger(source: number): number {
    return this.assigned.some(({ host }) => host === source) ? noFunction : source;
  }

  /** Passes a device's message on as `send`; those of assigned devices go as the one message that is their own. */
  message(guestRequester: number, send: () => void): void {
    const entry = this.find(guestRequester);
    if (entry === undefined && this.isOwn(guestRequester)) return send();
    // One that is nobody's is offered as the first message there is: it is not its own.
    const message = entry?.message ?? interruptAddress(0);
    const compatible = messageFromMsi(message, 0);
    if (compatible === null) return;
    if (entry === undefined) return void this.host.unit.interrupt(this.stranger(guestRequester), message, 0, compatible);
    entry.counts.interrupts++;
    entry.pending = send;
    this.host.unit.interrupt(entry.host, entry.message, 0, compatible);
    entry.pending = () => {};
  }
}

