/** The remapping unit as tables: what it is set to, what each device's entries say, how an address is translated, what was refused. */
import { ContractError } from '../contract/errors.ts';
import type { InspectQuery, InspectSection } from '../contract/inspect.ts';
import type { Isolation } from '../passthrough/isolation.ts';
import { directoryEntry, interruptEntry, legacyContext, pasidEntry, rootHalf, scalableContext } from '../vtd/entries.ts';
import { describeFault, faultReasons, isInterruptFault } from '../vtd/faults.ts';
import type { FaultLog } from '../vtd/faultLog.ts';
import { unpack } from '../vtd/fields.ts';
import type { FieldRow } from '../vtd/fields.ts';
import { command } from '../vtd/registers.ts';
import { formatRequester, parseRequester } from '../vtd/requester.ts';
import { everything, tableMode } from '../vtd/remapping.ts';
import type { Outcome } from '../vtd/remapping.ts';
import type { DmaRequest } from '../vtd/stage.ts';
import type { WalkStep } from '../vtd/trace.ts';
import type { VtdUnit } from '../vtd/unit.ts';
import { bitNames, hex, section, wideHex } from './tables.ts';
import type { BitRow } from './tables.ts';

/** What of a board belongs to remapping. */
export interface RemappingParts {
  /** The guest's own unit. */
  readonly vtd: VtdUnit | null;
  /** The workstation's, in front of assigned devices. */
  readonly isolation: Isolation | null;
  readonly faultLog: FaultLog;
  /** Requesters and what they are. */
  requesters(): readonly { readonly requester: number; readonly name: string }[];
}

type WalkQuery = Extract<InspectQuery, { what: 'iommu-walk' }>;

const statusBits: readonly BitRow[] = Object.entries(command).map(([name, bit]) => [bit, name]);
/** Bits that both stages' entries have, as far as people ask for them. */
const secondBits: readonly BitRow[] = [[0, 'read'], [1, 'write'], [7, 'large'], [8, 'accessed'], [9, 'dirty'], [11, 'snoop']];
const firstBits: readonly BitRow[] = [
  [0, 'present'], [1, 'write'], [2, 'user'], [5, 'accessed'], [6, 'dirty'], [7, 'large'], [8, 'global'], [63, 'no-execute'],
];

function refuseWithout({ vtd, isolation }: RemappingParts): void {
  if (vtd !== null || isolation !== null) return;
  const hint = 'Give it a unit of its own (vanderpool vm edit VM --machine iommu=on) or a device (vanderpool device assign), and start it again.';
  throw new ContractError('wrong-state', 'The machine has neither a VT-d unit nor assigned devices.', hint);
}

/** @param detail registers and the interrupt table, too: reading all its entries takes milliseconds */
export function remappingSections(parts: RemappingParts, detail: boolean): InspectSection[] {
  refuseWithout(parts);
  return [...(parts.isolation === null ? [] : [assignedSection(parts.isolation)]), ...(parts.vtd === null ? [] : unitSections(parts, parts.vtd, detail))];
}

function assignedSection({ devices }: Isolation): InspectSection {
  const rows = devices.map(({ guest, device, counts }) => [
    formatRequester(guest), device.name, formatRequester(device.requester), String(counts.requests), String(counts.refused), String(counts.interrupts),
  ]);
  return section('Assigned devices', ['Device', 'Name', 'On the host', 'DMA requests', 'Refused', 'Interrupts'], rows);
}

function unitSections(parts: RemappingParts, unit: VtdUnit, detail: boolean): InspectSection[] {
  const devices = section('Devices', ['Device', 'Name', 'Domain', 'Translation', 'First stage', 'Second stage'], parts.requesters().map((row) => deviceRow(unit, row)));
  if (!detail) return [devices];
  const registers = unit.registerValues
    .filter(({ name, value }) => !name.startsWith('FRCD') || value !== 0n)
    .map(({ name, offset, value }) => [name, hex(offset), wideHex(value), name === 'GSTS' ? bitNames(value, statusBits) : '']);
  const counts = Object.entries(unit.counters).map(([name, count]) => [name, String(count)]);
  return [
    section('VT-d unit', ['Register', 'Offset', 'Value', 'Meaning'], registers),
    section('Requests', ['What', 'Count'], counts),
    devices,
    interruptTableSection(unit),
  ];
}

function deviceRow(unit: VtdUnit, { requester, name }: { readonly requester: number; readonly name: string }): string[] {
  const id = formatRequester(requester);
  const view = unit.viewOf(requester);
  if (view === null) return [id, name, '', 'off: addresses stand', '', ''];
  if (view.kind === 'fault') return [id, name, '', `refused: ${faultReasons[view.reason].text}`, '', ''];
  const stage = (levels: number, table: number): string => (levels === 0 ? '' : `${levels} levels at ${hex(table)}`);
  const mode = `${view.mode}${view.scalable ? `, PASID ${view.pasid}` : ''}`;
  return [id, name, String(view.domain), mode, stage(view.firstLevels, view.first), stage(view.secondLevels, view.second)];
}

function interruptTableSection(unit: VtdUnit): InspectSection {
  const entries = unit.interruptEntries(256);
  const rows = entries.map(({ index, value }) => {
    const { posted, vector, destination, source, mode, level, logical, validation } = unpack(interruptEntry, value);
    return [
      hex(index), wideHex(value & 0xffffffffffffffffn), posted === 1 ? 'posted' : 'remapped', hex(vector), hex(destination),
      [`mode ${mode}`, level === 1 ? 'level' : 'edge', logical === 1 ? 'logical' : 'physical'].join(' '), validation === 0 ? 'any' : formatRequester(source),
    ];
  });
  return section('Interrupt remapping table', ['Index', 'Entry', 'Format', 'Vector', 'Destination', 'Delivery', 'Requester'], rows, 'Present entries, at most 256.');
}

export function remappingWalk(parts: RemappingParts, query: WalkQuery): InspectSection {
  refuseWithout(parts);
  const source = parseRequester(query.device);
  if (source === null) {
    throw new ContractError('bad-field', `"${query.device}" is no PCI device.`, 'Write bus, device and function, such as 00:03.0.', 'query.device');
  }
  const rows: string[][] = [];
  const address = BigInt(query.address);
  const request = { source, pasid: query.pasid, page: Number(address >> 12n), write: query.write, execute: false, privileged: false };
  const outcome = explainBoth(parts, request, rows);
  const what = `${query.write ? 'write' : 'read'} of ${hex(address)} by ${formatRequester(source)}${query.pasid === null ? '' : ` with PASID ${query.pasid}`}`;
  const note = outcome.kind === 'fault'
    ? `The ${what} is refused: ${faultReasons[outcome.reason].text} (${hex(faultReasons[outcome.reason].code)})${outcome.reported ? '' : ', without a record'}.`
    : `The ${what} reaches ${hex((BigInt(outcome.page) << 12n) | (address & 0xfffn))}${outcome.identity ? ', untranslated' : ''}.`;
  return section('DMA address', ['Structure', 'At', 'Entry', 'Fields'], rows, note);
}

/** Through the guest's unit, then for an assigned device through the workstation's. */
function explainBoth({ vtd, isolation }: RemappingParts, request: DmaRequest, rows: string[][]): Outcome {
  const plain: Outcome = { kind: 'page', page: request.page, run: 1, allows: everything, identity: true };
  const inGuest = vtd?.explain(request, (step) => rows.push(stepRow(vtd, step))) ?? plain;
  if (isolation === null || inGuest.kind === 'fault') return inGuest;
  const { unit } = isolation.host;
  const steps: string[][] = [];
  const inHost = isolation.explain({ ...request, page: inGuest.page }, (step) => steps.push(stepRow(unit, step)));
  rows.push(...steps.map(([table = '', ...cells]) => [`host ${table}`, ...cells]));
  // What is reached is told in the guest's addresses: where the host has put them is not the guest's affair.
  return inHost?.kind === 'fault' ? inHost : inGuest;
}

function stepRow(unit: VtdUnit, { table, address, value }: WalkStep): string[] {
  if (value === null) return [table, hex(address), 'no memory', ''];
  const low = wideHex(value & 0xffffffffffffffffn);
  return [table, hex(address), low, table.startsWith('first') ? bitNames(value, firstBits) : table.startsWith('second') ? bitNames(value, secondBits) : fieldsText(unit, table, value)];
}

function fieldsText(unit: VtdUnit, table: string, value: bigint): string {
  const scalable = unit.rootTable.mode === tableMode.scalable;
  const rows: Readonly<Record<string, Readonly<Record<string, FieldRow>>>> = {
    root: rootHalf, context: scalable ? scalableContext : legacyContext, 'PASID directory': directoryEntry, 'PASID table': pasidEntry,
  };
  const fields = rows[table] ?? {};
  return Object.entries(unpack(fields, value)).filter(([, content]) => content !== 0)
    .map(([name, content]) => (fields[name]?.[1] === 1 ? name : `${name} ${hex(content)}`)).join(', ');
}

export function remappingFaults({ faultLog }: RemappingParts): InspectSection {
  const rows = faultLog.list.map(({ at, unit, code, source, pasid, information, write }) => [
    new Date(at).toISOString(), unit, formatRequester(source), pasid === null ? '' : hex(pasid), isInterruptFault(code) ? 'interrupt' : write ? 'write' : 'read',
    isInterruptFault(code) ? `index ${hex(information >> 48n)}` : hex(information), hex(code), describeFault(code),
  ]);
  const note = faultLog.total > rows.length ? `The last ${rows.length} of ${faultLog.total}.` : '';
  return section('Refused requests', ['Time', 'Unit', 'Device', 'PASID', 'Request', 'Address', 'Reason', 'Meaning'], rows, note);
}
