/** Virtualization exceptions: EPT violations that L1 leaves to its guest. @sdm 3C 26.5.7 */
import { CR0_PE, INFO_VALID } from './bits';
import { REASON_VIOLATION, eptConvertible } from './ept';
import { structureWritable } from './physical-write';
import { raise } from './status';
import { get, get32 } from './vmcs';
import { CR0, IDT_VECTORING_INFO, RAM_BASE } from '../layout';
import {
  EPTP_INDEX, EXIT_QUALIFICATION_FIELD, EXIT_REASON_FIELD, GUEST_LINEAR_ADDRESS, GUEST_PHYSICAL_ADDRESS, VIRTUALIZATION_EXCEPTION_ADDRESS,
} from '../../vmx/fields';

const VECTOR: u32 = 20;
const AREA_SIZE: u32 = 34;
/** The area is in use until the guest clears this word. */
const BUSY: u32 = 0xffffffff;

/**
 * Makes #VE pending in place of the exit that is: true. False where the exit is none that L1 leaves to the guest, where it interrupts the
 * delivery of an event, and where the guest has not yet read about the exception before.
 */
export function takeVirtualizationException(): bool {
  if (get32(EXIT_REASON_FIELD) != REASON_VIOLATION || !eptConvertible) return false;
  if (!(load<u64>(CR0) & CR0_PE) || load<u32>(IDT_VECTORING_INFO) & INFO_VALID) return false;
  const area = get(VIRTUALIZATION_EXCEPTION_ADDRESS);
  if (!structureWritable(area, AREA_SIZE)) return false;
  const at: usize = RAM_BASE + <u32>area;
  if (load<u32>(at, 4)) return false;
  store<u32>(at, REASON_VIOLATION);
  store<u32>(at, BUSY, 4);
  store<u64>(at, get(EXIT_QUALIFICATION_FIELD), 8);
  store<u64>(at, get(GUEST_LINEAR_ADDRESS), 16);
  store<u64>(at, get(GUEST_PHYSICAL_ADDRESS), 24);
  store<u16>(at, <u16>get32(EPTP_INDEX), 32);
  raise(VECTOR);
  return true;
}
