/** DMA remapping: from a request to a page of memory or a fault, through the caches. @vtd 3 */

import { fault } from './faults.ts';
import { allow, needed } from './stage.ts';
import { legacyTranslation, pasidContext, pasidTranslation } from './structures.ts';
import { walkFirst, walkSecond } from './paging.ts';
import type { Walked } from './paging.ts';
import { bits } from './fields.ts';
import type { DmaRequest, PasidContext, TlbEntry, Translation } from './stage.ts';
import type { Fault } from './faults.ts';
import type { Lookup } from './structures.ts';
import type { RemappingCaches } from './caches.ts';
import type { RemappingMemory } from './memory.ts';
import type { WalkTrace } from './trace.ts';

/** Where a request may go: `page` for its own page, and how far the run goes on behind it. */
export interface Mapped {
  readonly kind: 'page';
  readonly page: number;
  /** The run of pages that the translation covers; `page` lies within it. */
  readonly run: number;
  /** Bits of `allow`. */
  readonly allows: number;
  /** The requester's addresses are not translated: protected memory regions apply. */
  readonly identity: boolean;
}

export type Outcome = Mapped | Fault;

/** Translation table modes of the root table address. @vtd 11.4.6 */
export const tableMode = { legacy: 0, scalable: 1, abort: 3 } as const;

/** The latched root table address. */
export interface RootTable {
  readonly mode: number;
  readonly address: number;
}

/** Rights where no table takes any away. */
export const everything = allow.read | allow.write | allow.execute;

/** The first and last page of the interrupt address range. */
const interruptPages = { first: 0xfee00, last: 0xfeeff } as const;

export class DmaRemapping {
  private readonly lookup: Lookup;
  private readonly scalable: boolean;
  readonly caches: RemappingCaches;

  constructor(memory: RemappingMemory, hostAddressBits: number, scalable: boolean, caches: RemappingCaches) {
    this.lookup = { memory, hostAddressBits, beyondHost: bits(hostAddressBits, 51) };
    this.scalable = scalable;
    this.caches = caches;
  }

  /** Translates an untranslated request, with the help of the caches. */
  translate(root: RootTable, request: DmaRequest): Outcome {
    const view = this.viewOf(root, request, this.lookup);
    if (view.kind === 'fault') return view;
    const refused = refuseRights(view, request);
    if (refused !== null) return refused;
    if (view.mode === 'pass-through') return this.passThrough(view, request.page);
    const privileged = isPrivileged(view, request);
    const cached = this.caches.page(view, privileged, request.page);
    if (cached !== undefined && (needed(request) & ~cached.allows) === 0) return mapped(cached, request.page);
    const found = this.walk(this.lookup, view, { ...request, privileged });
    if (found.kind === 'fault') return found;
    this.caches.putPage(view, privileged, request.page, found);
    return mapped(found, request.page);
  }

  /** The same from the tables alone, telling each step; changes nothing. */
  explain(root: RootTable, request: DmaRequest, trace: WalkTrace): Outcome {
    const { memory } = this.lookup;
    const lookup: Lookup = { ...this.lookup, memory: { read: address => memory.read(address), write: () => true, writeDword: () => true }, trace };
    const view = this.readView(root, request, lookup);
    if (view.kind === 'fault') return view;
    const refused = refuseRights(view, request);
    if (refused !== null) return refused;
    if (view.mode === 'pass-through') return this.passThrough(view, request.page);
    const found = this.walk(lookup, view, { ...request, privileged: isPrivileged(view, request) });
    return found.kind === 'fault' ? found : mapped(found, request.page);
  }

  /** What the tables say of a device's requests without PASID. */
  view(root: RootTable, source: number): Translation | Fault {
    return this.readView(root, { source, pasid: null }, this.lookup);
  }

  /** Whether the tables let a device use addresses that it had translated before. Null: yes. */
  refuseTranslated(root: RootTable, source: number, pasid: number | null): Fault | null {
    const view = this.viewOf(root, { source, pasid }, this.lookup);
    if (view.kind === 'fault') return view;
    if (view.deviceTlb) return null;
    return fault(view.scalable ? 'deviceTlbDisabled' : 'translationBlocked', view.faultDisabled);
  }

  private walk(lookup: Lookup, view: Translation, request: DmaRequest): Walked | Fault {
    const found = view.mode === 'second' ? walkSecond(lookup, view, request.page, wantsOf(request)) : walkFirst(lookup, view, request);
    if (found.kind === 'fault') return found;
    const target = found.target + (request.page % found.pages);
    if (target < interruptPages.first || target > interruptPages.last) return found;
    return fault(view.scalable ? 'scalableInterruptPage' : 'interruptPage', view.faultDisabled);
  }

  private passThrough(view: Translation, page: number): Outcome {
    if (page < 2 ** (this.lookup.hostAddressBits - 12)) return { kind: 'page', page, run: 1, allows: everything, identity: true };
    return fault(view.scalable ? 'beyondHostWidth' : 'addressBeyondWidth', view.faultDisabled);
  }

  /** The view of a requester, from the caches where they know it. */
  private viewOf(root: RootTable, request: Pick<DmaRequest, 'source' | 'pasid'>, lookup: Lookup): Translation | Fault {
    const { source } = request;
    const known = this.caches.context(source);
    if (known === undefined) return this.readView(root, request, lookup, this.caches);
    if (known.kind === 'translation') return request.pasid === null ? known : fault('pasidInLegacyMode');
    return this.pasidView(known, request, lookup, this.caches);
  }

  private readView(root: RootTable, { source, pasid }: Pick<DmaRequest, 'source' | 'pasid'>, lookup: Lookup, caches?: RemappingCaches): Translation | Fault {
    if (root.mode === tableMode.legacy) {
      if (pasid !== null) return fault('pasidInLegacyMode');
      const view = legacyTranslation(lookup, root.address, source);
      if (view.kind !== 'fault') caches?.putContext(source, view);
      return view;
    }
    if (root.mode !== tableMode.scalable || !this.scalable) return fault('tableModeInvalid');
    const context = pasidContext(lookup, root.address, source);
    if (context.kind === 'fault') return context;
    caches?.putContext(source, context);
    return this.pasidView(context, { source, pasid }, lookup, caches);
  }

  private pasidView(
    context: PasidContext, { source, pasid }: Pick<DmaRequest, 'source' | 'pasid'>, lookup: Lookup, caches?: RemappingCaches,
  ): Translation | Fault {
    if (pasid !== null && !context.pasidEnabled) return fault('pasidDisabled', context.faultDisabled);
    const number = pasid ?? context.ridPasid;
    const known = caches?.pasid(source, number);
    if (known !== undefined) return ownRequest(known, context, pasid);
    const view = pasidTranslation(lookup, context, number);
    if (view.kind === 'fault') return view;
    caches?.putPasid(source, number, view);
    return ownRequest(view, context, pasid);
  }
}

/** A request without PASID is privileged when the context entry says so. */
function ownRequest(view: Translation, context: PasidContext, pasid: number | null): Translation {
  return pasid === null && context.ridPrivilege ? { ...view, ridPrivilege: true } : view;
}

function isPrivileged(view: Translation, request: DmaRequest): boolean {
  return request.pasid === null ? view.ridPrivilege === true : request.privileged;
}

/** Requests that a PASID entry does not enable. @vtd 7.1.3 */
function refuseRights(view: Translation, request: DmaRequest): Fault | null {
  if (!view.scalable || request.pasid === null) return null;
  if (request.execute && !view.execute) return fault('executeDisabled', view.faultDisabled);
  return request.privileged && !view.supervisor ? fault('supervisorDisabled', view.faultDisabled) : null;
}

/** What a walk of the second stage has to grant; a read of nothing is content with either right. */
function wantsOf(request: DmaRequest): number {
  return request.zeroLength === true ? 0 : needed(request) & ~allow.execute;
}

function mapped(entry: TlbEntry, page: number): Mapped {
  return { kind: 'page', page: entry.target + (page % entry.pages), run: entry.pages, allows: entry.allows, identity: false };
}
