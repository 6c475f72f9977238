/** The VMX-preemption timer: it counts down at the rate of the time-stamp counter divided by 32. @sdm 3C 26.5.1 */
import { ownTimeStamp } from './time';
import { get32 } from './vmcs';
import { ACTIVE_PIN, PREEMPTION_DEADLINE } from '../layout';
import { PIN_PREEMPTION_TIMER } from '../../vmx/control-bits';
import { PREEMPTION_TIMER_VALUE } from '../../vmx/fields';

const RATE: u64 = 5;

export function startPreemptionTimer(): void {
  // It counts the moments when the counter's bit RATE changes.
  if (load<u32>(ACTIVE_PIN) & PIN_PREEMPTION_TIMER) store<u64>(PREEMPTION_DEADLINE, ((ownTimeStamp() >> RATE) + get32(PREEMPTION_TIMER_VALUE)) << RATE);
}

/** What the field is to hold after an exit, 0 when the timer is not active. */
export function preemptionTimerLeft(): u32 {
  if (!(load<u32>(ACTIVE_PIN) & PIN_PREEMPTION_TIMER)) return 0;
  const now = ownTimeStamp();
  const deadline = load<u64>(PREEMPTION_DEADLINE);
  return now < deadline ? u32((deadline - now + 31) >> RATE) : 0;
}

export function preemptionTimerExpired(): bool {
  return (load<u32>(ACTIVE_PIN) & PIN_PREEMPTION_TIMER) != 0 && ownTimeStamp() >= load<u64>(PREEMPTION_DEADLINE);
}
