/** What a vCPU holds of VMX for the guest's own hypervisor: its operation, the current VMCS by field, the controls in force. @sdm 3C 25 */
import { StateReader } from '../platform/state.ts';
import type { Component, DeviceState } from '../platform/device.ts';
import type { Processor } from '../cpu/processor.ts';
import {
  ACTIVE_EXCEPTIONS, ACTIVE_PIN, ACTIVE_PRIMARY, ACTIVE_SECONDARY, CR4_ALLOWED, CURRENT_VMCS, IDT_VECTORING_ERROR, IDT_VECTORING_INFO, MONITOR_TRAP,
  MSR_DEBUGCTL, MSR_FEATURE_CONTROL, NMI_UNBLOCKED, NON_ROOT, PHYS_RESERVED, PREEMPTION_DEADLINE, VECTORING_LENGTH, VIRTUAL_APIC_EXIT, VMCS, VMCS_CHECKED, VMXON_POINTER,
  VMX_OPERATION,
} from '../cpu/layout.ts';
import { FIELDS } from '../vmx/vmcs.ts';
import { readFields, saveFields, stateFields, writeFields } from './stateFields.ts';
import type { StateField } from './stateFields.ts';

const VMX_FIELDS: readonly StateField[] = [
  ...stateFields(32, [['operation', VMX_OPERATION], ['nonRoot', NON_ROOT]]),
  ...stateFields(64, [['vmxonPointer', VMXON_POINTER], ['preemptionDeadline', PREEMPTION_DEADLINE], ['debugctl', MSR_DEBUGCTL], ['featureControl', MSR_FEATURE_CONTROL]]),
  ...stateFields(32, [
    ['activePinControls', ACTIVE_PIN], ['activePrimaryControls', ACTIVE_PRIMARY], ['activeSecondaryControls', ACTIVE_SECONDARY],
    ['activeExceptions', ACTIVE_EXCEPTIONS], ['monitorTrap', MONITOR_TRAP], ['nmiUnblocked', NMI_UNBLOCKED], ['virtualApicExit', VIRTUAL_APIC_EXIT],
    ['vectoringInformation', IDT_VECTORING_INFO], ['vectoringErrorCode', IDT_VECTORING_ERROR], ['vectoringLength', VECTORING_LENGTH],
  ]),
];

/** The header of a region, then the fields under the manual's names. */
const VMCS_STATE: readonly StateField[] = [
  ...stateFields(32, [['revision', 0], ['abort', 4], ['launched', 8]]),
  ...stateFields(64, FIELDS.map(({ name, offset }) => [name, offset])),
];

const CR4_VMXE = 1n << 13n;
const NO_VMCS = (1n << 64n) - 1n;
const VMCS_BYTES = 4096;

export class VmxState implements Component {
  readonly name: string;
  readonly version = 1;
  readonly #cpu: Processor;
  readonly #index: number;

  constructor(cpu: Processor, index: number) {
    this.#cpu = cpu;
    this.#index = index;
    this.name = `vmx ${index}`;
  }

  /** Root mode resets it with the processor. */
  reset(): void {}

  saveState(): DeviceState {
    return this.#cpu.on(this.#index, () => this.#save());
  }

  #save(): DeviceState {
    const { view } = this.#cpu;
    const pointer = NO_VMCS ^ view.getBigUint64(CURRENT_VMCS, true);
    return {
      version: this.version, ...saveFields(view, VMX_FIELDS, 0), currentVmcs: pointer.toString(),
      vmcs: pointer === NO_VMCS ? null : saveFields(view, VMCS_STATE, VMCS),
    };
  }

  /** Load it after the processor. What VM entry checked of the VMCS is checked again. */
  loadState(state: unknown): void {
    this.#cpu.on(this.#index, () => this.#load(state));
  }

  #load(state: unknown): void {
    const { view, bytes } = this.#cpu;
    const reader = StateReader.open(this, state);
    const values = readFields(reader, VMX_FIELDS);
    const pointer = reader.uint64('currentVmcs');
    const vmcs = pointer === NO_VMCS ? null : readFields(reader.record('vmcs'), VMCS_STATE);
    const of = (name: string): bigint => values.get(name) ?? 0n;
    const beyond = view.getBigUint64(PHYS_RESERVED, true) | (0xfffn << 52n) | 0xfffn;
    if (of('operation') !== 0n && (view.getBigUint64(CR4_ALLOWED, true) & CR4_VMXE) === 0n) reader.refuse('operation', '0: the processor model has no VMX');
    if (of('nonRoot') !== 0n && (of('operation') === 0n || !vmcs)) reader.refuse('nonRoot', '0 outside VMX operation or without a VMCS');
    if ((of('vmxonPointer') & beyond) !== 0n) reader.refuse('vmxonPointer', 'the address of a page');
    if (vmcs && (pointer & beyond) !== 0n) reader.refuse('currentVmcs', 'the address of a page, or all ones');
    bytes.fill(0, VMCS, VMCS + VMCS_BYTES);
    writeFields(view, VMX_FIELDS, 0, values);
    view.setBigUint64(CURRENT_VMCS, NO_VMCS ^ pointer, true);
    if (vmcs) writeFields(view, VMCS_STATE, VMCS, vmcs);
    view.setUint32(VMCS_CHECKED, 0, true);
    this.#cpu.call('useBank', of('nonRoot') === 0n ? 0 : 1);
    this.#cpu.call('flushBanks');
    this.#cpu.call('updateMode');
    this.#cpu.call('restoreWindows');
  }
}
