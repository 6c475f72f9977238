/** Questions about a machine that are asked of one of its vCPUs. */
import type { InspectQuery } from './inspect.ts';

type OfVcpu = Extract<InspectQuery, { what: 'registers' | 'vectors' | 'walk' | 'tlb' | 'vmcs' | 'code' | 'memory' }>;
const OF_VCPU: readonly string[] = ['registers', 'vectors', 'walk', 'tlb', 'vmcs', 'code', 'memory'] satisfies readonly OfVcpu['what'][];

/** The query, asked of a vCPU where it makes a difference. */
export function forVcpu(query: InspectQuery, vcpu: number): InspectQuery {
  return isOfVcpu(query) ? { ...query, vcpu } : query;
}

function isOfVcpu(query: InspectQuery): query is OfVcpu {
  return OF_VCPU.includes(query.what);
}
