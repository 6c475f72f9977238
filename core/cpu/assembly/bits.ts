/** Names of the bits that several helpers test. */

// ---- EFLAGS -------------------------------------------------------------------------------------------------------------------
export const STATUS_FLAGS: u32 = 0x8d5;
export const TF: u32 = 0x100;
export const IF: u32 = 0x200;
export const DF: u32 = 0x400;
export const IOPL: u32 = 0x3000;
export const NT: u32 = 0x4000;
export const RF: u32 = 0x10000;
export const VM: u32 = 0x20000;
export const AC: u32 = 0x40000;
export const VIF: u32 = 0x80000;
export const VIP: u32 = 0x100000;
export const ID: u32 = 0x200000;

// ---- control registers --------------------------------------------------------------------------------------------------------
export const CR0_PE: u64 = 1;
export const CR0_MP: u64 = 1 << 1;
export const CR0_EM: u64 = 1 << 2;
export const CR0_TS: u64 = 1 << 3;
export const CR0_ET: u64 = 1 << 4;
export const CR0_NE: u64 = 1 << 5;
export const CR0_WP: u64 = 1 << 16;
export const CR0_AM: u64 = 1 << 18;
export const CR0_NW: u64 = 1 << 29;
export const CR0_CD: u64 = 1 << 30;
export const CR0_PG: u64 = 1 << 31;

export const CR4_VME: u64 = 1;
export const CR4_PVI: u64 = 1 << 1;
export const CR4_TSD: u64 = 1 << 2;
export const CR4_DE: u64 = 1 << 3;
export const CR4_PSE: u64 = 1 << 4;
export const CR4_PAE: u64 = 1 << 5;
export const CR4_PGE: u64 = 1 << 7;
export const CR4_PCE: u64 = 1 << 8;
export const CR4_UMIP: u64 = 1 << 11;
export const CR4_LA57: u64 = 1 << 12;
export const CR4_VMXE: u64 = 1 << 13;
export const CR4_PCIDE: u64 = 1 << 17;
export const CR4_OSXSAVE: u64 = 1 << 18;
export const CR4_SMEP: u64 = 1 << 20;
export const CR4_SMAP: u64 = 1 << 21;
export const CR4_PKE: u64 = 1 << 22;

export const EFER_SCE: u64 = 1;
export const EFER_LME: u64 = 1 << 8;
export const EFER_LMA: u64 = 1 << 10;
export const EFER_NXE: u64 = 1 << 11;

// ---- SEG_ACCESS ---------------------------------------------------------------------------------------------------------------
export const ACCESS_CODE: u32 = 8;
export const ACCESS_CONFORMING: u32 = 4;
export const ACCESS_EXPAND_DOWN: u32 = 4;
export const ACCESS_READ_WRITE: u32 = 2;
export const ACCESS_ACCESSED: u32 = 1;
export const ACCESS_S: u32 = 0x10;
export const ACCESS_P: u32 = 0x80;
export const ACCESS_L: u32 = 0x2000;
export const ACCESS_DB: u32 = 0x4000;
export const ACCESS_G: u32 = 0x8000;
export const ACCESS_UNUSABLE: u32 = 0x10000;

// ---- information about interruptions, in the VMCS ------------------------------------------------------------------------------
export const INFO_VALID: u32 = 0x80000000;
