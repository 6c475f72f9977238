/** The time-stamp counter. */
import { timestamp } from './imports';
import { TSC_OFFSET } from '../layout';

/** The counter without what L1 adds for its guest. */
// @ts-ignore: decorator
@inline
export function ownTimeStamp(): u64 {
  return u64(timestamp()) + load<u64>(TSC_OFFSET);
}
