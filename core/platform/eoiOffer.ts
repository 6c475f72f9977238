/**
 * KVM's paravirtual end of interrupt: with an interrupt that needs nothing of the APIC but its in-service bit cleared, a bit is set in a word of the
 * guest's memory. A guest that finds it set clears it, and has ended the interrupt without an exit.
 */

/** The bit in guest memory. */
export interface EoiBit {
  read(): boolean;
  write(set: boolean): void;
}

export class EoiOffer {
  private bit: EoiBit | null = null;
  private open = false;

  /** Where the guest wants to be offered it; null: nowhere. Settle what is open before. */
  connect(bit: EoiBit | null): void {
    this.bit = bit;
    this.open = false;
  }

  make(): void {
    if (!this.bit) return;
    this.bit.write(true);
    this.open = true;
  }

  /** Ends the offer; true when the guest has taken it. */
  settle(): boolean {
    if (!this.open || !this.bit) return false;
    this.open = false;
    if (!this.bit.read()) return true;
    this.bit.write(false);
    return false;
  }
}
