/** `vanderpool iommu ...`: a VM's remapping unit. */
import { addressOf, showAnswers } from './inspect.ts';
import { wholeNumber } from './machine-options.ts';
import type { CommonOptions } from './session.ts';

export interface WalkOptions extends CommonOptions {
  readonly device: string;
  readonly pasid?: string;
  readonly write?: boolean;
}

export async function showUnit(reference: string, options: CommonOptions): Promise<void> {
  await showAnswers(reference, [{ what: 'iommu', detail: true }], options);
}

export async function walkAddress(reference: string, address: string, options: WalkOptions): Promise<void> {
  const pasid = options.pasid === undefined ? null : wholeNumber('--pasid', options.pasid);
  await showAnswers(reference, [{ what: 'iommu-walk', device: options.device, pasid, address: addressOf('ADDRESS', address), write: options.write === true }], options);
}

export async function showFaults(reference: string, options: CommonOptions): Promise<void> {
  await showAnswers(reference, [{ what: 'iommu-faults' }], options);
}
