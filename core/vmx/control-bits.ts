/** Bits of the control fields, for AssemblyScript and TypeScript alike; their rows are in controls.ts. */

export const PIN_EXTERNAL_INTERRUPT = 1;
export const PIN_NMI = 1 << 3;
export const PIN_VIRTUAL_NMIS = 1 << 5;
export const PIN_PREEMPTION_TIMER = 1 << 6;
export const PIN_POSTED_INTERRUPTS = 1 << 7;

export const PRIMARY_INTERRUPT_WINDOW = 1 << 2;
export const PRIMARY_TSC_OFFSETTING = 1 << 3;
export const PRIMARY_HLT = 1 << 7;
export const PRIMARY_INVLPG = 1 << 9;
export const PRIMARY_MWAIT = 1 << 10;
export const PRIMARY_RDPMC = 1 << 11;
export const PRIMARY_RDTSC = 1 << 12;
export const PRIMARY_CR3_LOAD = 1 << 15;
export const PRIMARY_CR3_STORE = 1 << 16;
export const PRIMARY_CR8_LOAD = 1 << 19;
export const PRIMARY_CR8_STORE = 1 << 20;
export const PRIMARY_TPR_SHADOW = 1 << 21;
export const PRIMARY_NMI_WINDOW = 1 << 22;
export const PRIMARY_MOV_DR = 1 << 23;
export const PRIMARY_UNCONDITIONAL_IO = 1 << 24;
export const PRIMARY_IO_BITMAPS = 1 << 25;
export const PRIMARY_MONITOR_TRAP = 1 << 27;
export const PRIMARY_MSR_BITMAPS = 1 << 28;
export const PRIMARY_MONITOR = 1 << 29;
export const PRIMARY_PAUSE = 1 << 30;
export const PRIMARY_SECONDARY = 0x80000000;

export const SECONDARY_APIC_ACCESSES = 1;
export const SECONDARY_EPT = 1 << 1;
export const SECONDARY_DESCRIPTOR_TABLES = 1 << 2;
export const SECONDARY_RDTSCP = 1 << 3;
export const SECONDARY_X2APIC = 1 << 4;
export const SECONDARY_VPID = 1 << 5;
export const SECONDARY_WBINVD = 1 << 6;
export const SECONDARY_UNRESTRICTED = 1 << 7;
export const SECONDARY_APIC_REGISTERS = 1 << 8;
export const SECONDARY_VIRTUAL_INTERRUPTS = 1 << 9;
export const SECONDARY_PAUSE_LOOP = 1 << 10;
export const SECONDARY_RDRAND = 1 << 11;
export const SECONDARY_INVPCID = 1 << 12;
export const SECONDARY_VM_FUNCTIONS = 1 << 13;
export const SECONDARY_SHADOWING = 1 << 14;
export const SECONDARY_RDSEED = 1 << 16;
export const SECONDARY_PML = 1 << 17;
export const SECONDARY_VIRTUALIZATION_EXCEPTION = 1 << 18;
export const SECONDARY_XSAVES = 1 << 20;
export const SECONDARY_MODE_BASED_EXECUTE = 1 << 22;
export const SECONDARY_TSC_SCALING = 1 << 25;

export const EXIT_SAVE_DEBUG = 1 << 2;
export const EXIT_HOST_LONG = 1 << 9;
export const EXIT_ACKNOWLEDGE_INTERRUPT = 1 << 15;
export const EXIT_SAVE_PAT = 1 << 18;
export const EXIT_LOAD_PAT = 1 << 19;
export const EXIT_SAVE_EFER = 1 << 20;
export const EXIT_LOAD_EFER = 1 << 21;
export const EXIT_SAVE_PREEMPTION_TIMER = 1 << 22;

export const ENTRY_LOAD_DEBUG = 1 << 2;
export const ENTRY_GUEST_LONG = 1 << 9;
export const ENTRY_LOAD_PAT = 1 << 14;
export const ENTRY_LOAD_EFER = 1 << 15;
