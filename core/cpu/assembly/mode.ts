/** What follows from control registers, flags and segment registers. */
import { refreshFlatness, refreshSizes, setPrivilege } from './descriptors';
import { updateStepReason, virtual8086 } from './flags';
import { CPL, CR0, REAL_SEGMENTS } from '../layout';

/** Recomputes everything derived from CR0, CR4, EFER, EFLAGS.VM and the segment registers. */
export function updateMode(): void {
  const v86 = virtual8086();
  const real = !(load<u64>(CR0) & 1);
  if (real) store<u32>(CPL, 0);
  else if (v86) store<u32>(CPL, 3);
  store<u32>(REAL_SEGMENTS, u32(real || v86));
  setPrivilege(load<u32>(CPL));
  refreshSizes();
  refreshFlatness();
  updateStepReason();
}
