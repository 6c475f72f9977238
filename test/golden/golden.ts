/** What every golden snapshot remembers, in RAM that the monitor does not use. */
export const GOLDEN_ADDRESS = '0x800000';
export const GOLDEN_VALUE = 0x5a;
