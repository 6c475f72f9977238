/** What devices ask of the machine as a whole. */
export interface MachineEvents {
  /** ACPI S5. */
  powerOff(): void;
  /** A reset of the whole machine, by whichever of the PC's ways. */
  reset(): void;
  /** A write to the debug-exit port. */
  debugExit(value: number): void;
}
