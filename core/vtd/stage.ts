/** What the tables of a requester say about its requests, once read: the work of the page walks. */

/** How requests of one source (and PASID) are translated. */
export interface Translation {
  readonly kind: 'translation';
  readonly mode: 'pass-through' | 'first' | 'second' | 'nested';
  readonly scalable: boolean;
  readonly domain: number;
  /** -1 for requests in legacy mode: they have none. */
  readonly pasid: number;
  /** An entry on the way here has FPD set. */
  readonly faultDisabled: boolean;
  /** Translation requests and translated requests are allowed. */
  readonly deviceTlb: boolean;
  /** Addresses of the top tables, and their levels. */
  readonly first: number;
  readonly firstLevels: number;
  readonly second: number;
  readonly secondLevels: number;
  /** The walk keeps accessed and dirty bits in the second stage; it always does in the first. */
  readonly secondAccessed: boolean;
  readonly execute: boolean;
  readonly supervisor: boolean;
  readonly writeProtect: boolean;
  readonly noExecute: boolean;
  readonly supervisorExecute: boolean;
  /** Requests without PASID count as privileged. */
  readonly ridPrivilege?: boolean;
}

/** A scalable-mode context entry. */
export interface PasidContext {
  readonly kind: 'pasid-context';
  readonly faultDisabled: boolean;
  readonly deviceTlb: boolean;
  readonly pasidEnabled: boolean;
  readonly directory: number;
  /** PASIDs below this have a directory entry. */
  readonly pasids: number;
  readonly ridPasid: number;
  readonly ridPrivilege: boolean;
}

/** What a device asks for. */
export interface DmaRequest {
  /** Requester ID: bus, device and function. */
  readonly source: number;
  readonly pasid: number | null;
  /** Address divided by 4096: 52 bits. */
  readonly page: number;
  readonly write: boolean;
  readonly execute: boolean;
  readonly privileged: boolean;
  /** A read of no bytes: allowed where the page can be written only, too. */
  readonly zeroLength?: boolean;
}

/** Bits of `TlbEntry.allows`. */
export const allow = { read: 1, write: 2, execute: 4 } as const;

/** A translation of a run of pages. */
export interface TlbEntry {
  /** Pages in the run: 1, 512 or 512 x 512. */
  readonly pages: number;
  /** First page of the run that it leads to. */
  readonly target: number;
  /** What the entry is good for without a walk: writes only once the dirty bit is set. */
  readonly allows: number;
}

export function needed(request: DmaRequest): number {
  return request.write ? allow.write : request.execute ? allow.read | allow.execute : allow.read;
}
