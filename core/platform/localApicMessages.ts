/** Interprocessor interrupts: what an ICR stands for, and whom a destination names. @sdm 3A 11.6 */

import { deliveryMode } from './interrupts.ts';
import type { InterruptMessage } from './interrupts.ts';

export type Shorthand = 'none' | 'self' | 'all' | 'others';

const shorthands: readonly Shorthand[] = ['none', 'self', 'all', 'others'];

export interface Ipi {
  readonly message: InterruptMessage;
  readonly shorthand: Shorthand;
}

/** What a write of the interrupt command register sends, or null for the modes that send nothing. @sdm 3A 11.6.1 */
export function ipiOf(low: number, high: number, x2apic: boolean): Ipi | null {
  const mode = (low >> 8) & 7;
  const assert = (low & 0x4000) !== 0;
  const levelTriggered = (low & 0x8000) !== 0;
  // INIT level de-assert only set arbitration IDs, which no longer exist.
  if (mode === deliveryMode.init && levelTriggered && !assert) return null;
  if (mode === deliveryMode.extInt || mode === 3) return null;
  const message = {
    mode, vector: low & 0xff, logical: (low & 0x800) !== 0, destination: x2apic ? high : high >>> 24, wide: x2apic,
    // IPIs are edge-triggered whatever the trigger bit says.
    level: false,
  };
  return { message, shorthand: shorthands[(low >> 18) & 3] ?? 'none' };
}

/** The registers by which a local APIC knows its names. */
export interface ApicAddress {
  readonly id: number;
  readonly ldr: number;
  readonly dfr: number;
  readonly x2apic: boolean;
}

/** Whether a message's destination names this APIC. @sdm 3A 11.6.2 */
export function isAddressed({ logical, destination, wide }: Pick<InterruptMessage, 'logical' | 'destination' | 'wide'>, apic: ApicAddress): boolean {
  if (destination === (wide ? 0xffffffff : 0xff)) return true;
  if (!logical) return destination === apic.id;
  if (apic.x2apic) return destination >>> 16 === apic.ldr >>> 16 && (destination & apic.ldr & 0xffff) !== 0;
  const address = destination & 0xff;
  const own = apic.ldr >>> 24;
  if (apic.dfr >>> 28 === 0xf) return (address & own) !== 0;
  return (address >> 4 === own >> 4 || address >> 4 === 0xf) && (address & own & 0xf) !== 0;
}
