/** Answers what a person asks about a machine's state, between two slices; nothing that the guest can see changes. */
import { ContractError } from '../contract/errors.ts';
import type { InspectQuery, InspectSection } from '../contract/inspect.ts';
import type { Processor } from '../cpu/processor.ts';
import type { MemoryBus, PortBus } from '../platform/bus.ts';
import type { InterruptSystem } from '../platform/interruptSystem.ts';
import { mapSections } from './addressMap.ts';
import { interruptSections } from './interrupts.ts';
import { codeSection, memorySection, walkSection } from './memory.ts';
import { remappingFaults, remappingSections, remappingWalk } from './remapping.ts';
import type { RemappingParts } from './remapping.ts';
import { registerSections, vectorSections } from './registers.ts';
import { rootSections } from './rootMode.ts';
import { tlbSections } from './tlb.ts';
import { vmcsSections } from './vmcs.ts';

/** What of a PC can be looked at. */
export interface InspectedBoard extends RemappingParts {
  readonly memoryBus: MemoryBus;
  readonly ports: PortBus;
  readonly interrupts: InterruptSystem;
}

/** @throws ContractError when there is nothing at an address, or no such vCPU */
export function inspect(cpu: Processor, board: InspectedBoard, query: InspectQuery): InspectSection[] {
  const vcpu = ('vcpu' in query ? query.vcpu : undefined) ?? 0;
  if (vcpu >= cpu.vcpus) throw new ContractError('bad-field', `There is no vCPU ${vcpu}.`, `The machine has ${cpu.vcpus}, numbered from 0.`, 'vcpu');
  return cpu.on(vcpu, () => answer(cpu, board, query));
}

function answer(cpu: Processor, board: InspectedBoard, query: InspectQuery): InspectSection[] {
  switch (query.what) {
    case 'registers': return registerSections(cpu);
    case 'vectors': return vectorSections(cpu);
    case 'walk': return [walkSection(cpu, BigInt(query.address))];
    case 'vmcs': return vmcsSections(cpu);
    case 'root': return rootSections(cpu, query.address === null ? null : BigInt(query.address));
    case 'tlb': return tlbSections(cpu);
    case 'interrupts': return interruptSections(board.interrupts);
    case 'map': return mapSections(cpu, board);
    case 'code': return [codeSection(cpu, query.address === null ? null : BigInt(query.address), query.count)];
    case 'iommu': return remappingSections(board, query.detail);
    case 'iommu-walk': return [remappingWalk(board, query)];
    case 'iommu-faults': return [remappingFaults(board)];
    case 'memory': return [memorySection(cpu, query.space, BigInt(query.address), query.length, query.line)];
  }
}
