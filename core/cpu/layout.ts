/**
 * Where everything lives in a vCPU's linear memory. Read by TypeScript (emitters, decoder, views) and by the AssemblyScript
 * helpers alike, hence plain integer constants: one number, one place.
 *
 * Linear memory:
 *   0x00000000  64 KiB   static data of the AssemblyScript helpers
 *   0x00010000  64 KiB   state of the vCPU that runs (this file), and of the processor as a whole
 *   0x00100000  160 KiB  states of the vCPUs that do not run
 *   0x00200000  7 MiB    one word and three attribute bytes per guest-physical page below 4 GiB
 *   0x00900000  24 KiB   root mode's EPT but for its page tables
 *   0x00a00000  1 MiB    what each region has checked last
 *   0x01000000  8 MiB    page tables of root mode's EPT
 *   0x01800000  71 MiB   decoded code
 *   0x05f00000  8 MiB    what regions count, and the pages they lie on
 *   0x06700000  9 MiB    translation look-aside tables: two banks a vCPU
 *   0x07000000  16 MiB   ROM: guest-physical FF000000H to FFFFFFFFH
 *   0x08000000           guest RAM
 */

// ---- general registers ---------------------------------------------------------------------------------------------------
export const STATE = 0x10000;
/** RAX RCX RDX RBX RSP RBP RSI RDI R8..R15, 8 bytes each; AH..BH are bytes 1 of the first four. */
export const GPR = 0x10000;
/** Reads as zero: the base or index of an address that has none. */
export const ZERO = 0x10080;
export const RIP = 0x10088;
/** RIP of the instruction after the current one; valid inside helpers that are called with the instruction pointer spilled. */
export const NEXT_RIP = 0x10090;

// ---- flags ------------------------------------------------------------------------------------------------------------------
// The six status flags are lazy and kind-free:
//   ZF = (F_RES == 0), SF = bit 63 of F_RES xor bit 31 of F_PARITY, PF = even parity of (low byte of F_RES xor low byte of F_PARITY),
//   CF and OF = borrow and overflow of F_CX - F_CY (OF of INC and DEC: AUX_STEPPED), AF as F_AUX says.
// All three are sign-extended from the operand size to 64 bits, which keeps the order of unsigned numbers too. An addition is the subtraction
// of an operand from the sum; any CF and OF are those of 2u - u with 64 bits, whose bits 63 and 62 are CF and CF xor OF.
export const F_RES = 0x10098;
export const F_CX = 0x100a0;
export const F_CY = 0x100a8;
/** 32-bit: bit 4 is AF; or, with AUX_DERIVED, AF is the half borrow of F_CX - F_CY. Six bits from AUX_SHORT on are by how many bits the operands are shorter than 64. */
export const F_AUX = 0x100b8;
export const AUX_DERIVED = 0x100;
export const AUX_SHORT = 16;
/** INC or, with AUX_DOWN, DEC set all but CF: OF is set where F_RES is the least number of its size, or the greatest with AUX_DOWN. */
export const AUX_STEPPED = 0x800;
export const AUX_DOWN = 0x80000000 | 0;
/** Notes for the compiler of regions: the flags are those of comparing F_CX with F_CY; of a result, with CF and OF clear. */
export const AUX_COMPARED = 0x200;
export const AUX_LOGIC = 0x400;
/** 32-bit, right behind F_AUX so that one 64-bit store writes both; nonzero only when flags were loaded from an image (POPF, SAHF,
 *  IRET...) in a combination that no result has: bits 7:0 turn PF, bit 31 turns SF. */
export const F_PARITY = 0x100bc;
/** 32-bit: every RFLAGS bit except CF PF AF ZF SF OF, which are zero here; bit 1 is set. */
export const EFLAGS = 0x100c0;
/** 32-bit: current privilege level. */
export const CPL = 0x100c4;
/** 32-bit: 0 = 16-bit code, 1 = 32-bit code, 2 = 64-bit code (CS.L with EFER.LMA). */
export const CODE_SIZE = 0x100c8;
/** 32-bit: nonzero when an exit happened while root mode completed an instruction: the next VM entry reports it. */
export const EXIT_OWED = 0x100cc;
/** 32-bit: mask of the stack pointer's width: 0 = 16 bits, 1 = 32 bits, 2 = 64 bits. */
export const STACK_SIZE = 0x100d0;
/** 32-bit: nonzero when the processor is in real mode (CR0.PE = 0) or virtual-8086 mode. */
export const REAL_SEGMENTS = 0x100d4;

// ---- segment registers ------------------------------------------------------------------------------------------------------
/** ES CS SS DS FS GS LDTR TR, SEGMENT_SIZE bytes each, in the encoding's order. */
export const SEGMENTS = 0x10100;
export const SEGMENT_SIZE = 32;
/** u64. */
export const SEG_BASE = 0;
/** u32, byte-granular (scaled by G). */
export const SEG_LIMIT = 8;
/** u16. */
export const SEG_SELECTOR = 12;
/** u32 in the format of the VMCS access-rights field: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16. */
export const SEG_ACCESS = 16;
/** u32: bit 0 = every 32-bit offset may be read without a check, bit 1 = may be written. Kept by whoever loads the register. */
export const SEG_FLAT = 20;
export const ES = 0;
export const CS = 1;
export const SS = 2;
export const DS = 3;
export const FS = 4;
export const GS = 5;
export const LDTR = 6;
export const TR = 7;

/** u64 base, then u32 limit. */
export const GDTR_BASE = 0x10200;
export const GDTR_LIMIT = 0x10208;
export const IDTR_BASE = 0x10210;
export const IDTR_LIMIT = 0x10218;

// ---- control, debug and model-specific registers ----------------------------------------------------------------------------
export const CR0 = 0x10220;
export const CR2 = 0x10228;
export const CR3 = 0x10230;
export const CR4 = 0x10238;
export const CR8 = 0x10240;
export const EFER = 0x10248;
export const XCR0 = 0x10250;
/** u64: the task priority as root mode knows it: a VM exit tells it of another one in CR8. */
export const ROOT_CR8 = 0x10258;
/** DR0..DR3, DR6, DR7: u64 each, indexed by number times 8. */
export const DR0 = 0x10260;
export const DR6 = 0x10290;
export const DR7 = 0x10298;
/** 32-bit PKRU. */
export const PKRU = 0x102a0;
export const MSR_STAR = 0x102a8;
export const MSR_LSTAR = 0x102b0;
export const MSR_CSTAR = 0x102b8;
export const MSR_SFMASK = 0x102c0;
export const MSR_KERNEL_GS_BASE = 0x102c8;
export const MSR_SYSENTER_CS = 0x102d0;
export const MSR_SYSENTER_ESP = 0x102d8;
export const MSR_SYSENTER_EIP = 0x102e0;
export const MSR_PAT = 0x102e8;
export const MSR_TSC_AUX = 0x102f0;
export const MSR_XSS = 0x102f8;
/** PAE page-directory-pointer entries, 4 u64, loaded by MOV CR3 and friends (@sdm 3A 4.4.1). */
export const PDPTE = 0x10300;
/** u64: guest-physical address mask of bits 51..MAXPHYADDR that are reserved in paging entries. */
export const PHYS_RESERVED = 0x10320;
/** u64 each: what CR4, EFER and XCR0 may hold; set from the CPUID model. */
export const CR4_ALLOWED = 0x10328;
export const EFER_ALLOWED = 0x10330;
export const XCR0_ALLOWED = 0x10338;

// ---- events and exits -------------------------------------------------------------------------------------------------------
/** 32-bit: 0 = none; else a fault is pending for the current instruction, which must be unwound. Bits 7:0 vector, bit 8 set
 *  (FAULT_PENDING), bit 11 = an error code is delivered. FAULT_EXIT instead: a VM exit is pending. */
export const FAULT = 0x10400;
export const FAULT_PENDING = 0x100;
export const FAULT_HAS_ERROR = 0x800;
export const FAULT_EXIT = 0x10000;
/** A VM exit to the guest's own hypervisor is pending: its fields are in the VMCS, `deliverPending` completes it. */
export const FAULT_VM_EXIT = 0x20000;
/** With #GP(0): an operand's address is not canonical, which is #SS(0) when the stack segment is meant. */
export const FAULT_CANONICAL = 0x1000;
/** 32-bit error code of the pending fault. */
export const FAULT_ERROR = 0x10404;
/** u64: the linear address of a page fault (goes to CR2 on delivery). */
export const FAULT_ADDRESS = 0x10408;
/** 32-bit: bit 0 = blocking by STI, bit 1 = blocking by MOV SS, bit 3 = blocking by NMI (VMCS interruptibility state). */
export const INTERRUPTIBILITY = 0x10410;
/** 32-bit: 0 = active, 1 = HLT, 2 = shutdown, 3 = wait-for-SIPI (VMCS activity state). */
export const ACTIVITY = 0x10414;
/** u64: pending debug exceptions in the VMCS format: B3:B0, bit 12 = enabled breakpoint, bit 14 = BS. */
export const PENDING_DEBUG = 0x10418;
/** 32-bit: IDT-vectoring information (an event whose delivery was interrupted). */
export const IDT_VECTORING_INFO = 0x10450;
export const IDT_VECTORING_ERROR = 0x10454;
/** 32-bit: nonzero when somebody waits until external interrupts can be taken: root mode, the hypervisor inside, a virtual interrupt. */
export const INTERRUPT_WINDOW = 0x10458;
export const WINDOW_ROOT = 1;
export const WINDOW_NESTED = 2;
export const WINDOW_VIRTUAL_INTERRUPT = 4;
/** 32-bit: NMI-window exiting, likewise: WINDOW_ROOT, WINDOW_NESTED. */
export const NMI_WINDOW = 0x1045c;
/** i64: instructions that may still run in this slice; the loop ends when it is no longer positive. */
export const BUDGET = 0x10460;
/** u64: instructions retired since reset. */
export const INSTRUCTIONS = 0x10468;
/** 32-bit: nonzero when a slow path is needed before the next instruction: TF, debug breakpoints, interrupt shadow to expire. */
export const STEP_REASON = 0x10470;
/** 32-bit: nesting depth of event delivery, for double- and triple-fault promotion; 0 outside delivery. */
export const DELIVERY = 0x10474;
/** i64: instructions that regions may run beyond BUDGET, which ends at the next sample: what runs compiled need not be looked at as often. */
export const REGION_RESERVE = 0x10478;
/** 64-byte scratch: bounce buffer of accesses that cross pages or reach MMIO. */
export const BOUNCE = 0x10480;
/** Description of the write that BOUNCE holds until it is committed: u64 linear address, u32 size. */
export const BOUNCE_LINEAR = 0x104c0;
export const BOUNCE_SIZE = 0x104c8;
/** 32-bit: exclusive end of guest RAM in bytes of guest-physical address space (page aligned). */
export const RAM_SIZE = 0x104cc;
/** 32-bit: entries in the log of installed look-aside entries. */
export const TLB_LOG_COUNT = 0x104d0;
/** 32-bit: next free byte of the decoded-code arena. */
export const CODE_NEXT = 0x104d4;
/** 32-bit: incremented whenever decoded code is dropped. */
export const CODE_GENERATION = 0x104d8;
/** 32-bit: code size that the execute tables were filled for. */
export const CODE_TABLES_FOR = 0x104dc;
/** Arguments of instruction helpers that need more than they can be passed: four u64. */
export const ARGUMENTS = 0x104e0;

// ---- x87, SSE ---------------------------------------------------------------------------------------------------------------
/** R0..R7 (physical registers, not the stack order), 16 bytes each: u64 significand, u16 sign and exponent. MMX aliases these. */
export const X87 = 0x10500;
/** u16 each. FTW is the full 2-bit-a-register tag word only when stored; here: one byte, bit i set = Ri is not empty. */
export const FCW = 0x10580;
export const FSW = 0x10582;
export const FTAGS = 0x10584;
export const FOP = 0x10586;
/** u64 FIP, FDP; u16 FCS, FDS. */
export const FIP = 0x10588;
export const FDP = 0x10590;
export const FCS = 0x10598;
export const FDS = 0x1059a;
/** 32-bit. */
export const MXCSR = 0x1059c;
/** 32-bit: the pins that report an unmasked x87 exception when CR0.NE = 0, in place of #MF. */
export const FERR = 0x105a0;
export const FERR_ASSERTED = 1;
/** IGNNE#: x87 instructions go on all the same. */
export const FERR_IGNORED = 2;
/** XMM0..XMM15, 16 bytes each. */
export const XMM = 0x10600;
/** Scratch space for SIMD helpers, 256 bytes. */
export const XSCRATCH = 0x10700;

/** What `lookup` found besides the record: u32 record table of the page, u64 RIP of the page's first byte. */
export const CODE_TABLE = 0x10c00;
export const CODE_PAGE_RIP = 0x10c08;
/** 32-bit: index of the region that returned to the interpreter last. */
export const REGION_ENTRY = 0x10c10;
/** 32-bit: nonzero while the interpreter carries out what regions begin with itself, for entries that must end at an exact place (processor.ts). */
export const REGIONS_OFF = 0x10c74;
/** 32-bit: nonzero when the guest has read a time at which something of the machine is due: the VM entry ends behind that RDTSC. */
export const TIME_UP = 0x10c78;
/** The first instruction of a region as it was decoded, and a way back to what follows: records for REGIONS_OFF. */
export const REGION_FIRST = 0x10ca0;
/** 32-bit each: how often a range of accesses crossed a page (jit/ranges.ts); the index of the region where that happened last, and the range there. */
export const RANGE_CROSSINGS = 0x10c80;
export const RANGE_CROSSED_BY = 0x10c84;
export const RANGE_CROSSED_AT = 0x10c88;
/** 32-bit: STATUS of the last access for which a helper opened no window (assembly/windows.ts). */
export const OPEN_STATUS = 0x10c8c;
/**
 * 32-bit: two bits for each of ES, CS, SS and DS, as in SEG_FLAT, but set only where the base is 0: an offset is then the linear address;
 * and STACK_SIZE from bit 8 on. Legacy code is compiled for one value of it.
 */
export const PLAIN_SEGMENTS = 0x10c68;
/** u64: what an empty window is for: a page that is not canonical, and that no guest can guess, as an access there would meet no #GP. */
export const WINDOW_EMPTY = 0x10c60;
/**
 * 32-bit: changes whenever a translation of code may have changed; and, right behind it, the base of the look-aside tables for the current
 * CPL (TLB_SUPERVISOR or TLB_USER). Where both are what they were, so is the code on every page that a region has checked.
 */
export const EXECUTE_EPOCH = 0x10c18;
export const TLB_BASE = 0x10c1c;
/** A decoded instruction and a stop, for single steps: records live here instead of in a page's table. */
export const STEP_RECORDS = 0x10c20;

// ---- VMX ---------------------------------------------------------------------------------------------------------------------
/** 32-bit: nonzero in VMX operation; nonzero in VMX non-root operation as the guest's own hypervisor (L1) has it. */
export const VMX_OPERATION = 0x11000;
export const NON_ROOT = 0x11004;
/** u64: physical address of the VMXON region. */
export const VMXON_POINTER = 0x11008;
/** u64: the current-VMCS pointer with every bit inverted: 0 = none. */
export const CURRENT_VMCS = 0x11010;
/** 32-bit each: pin-based, primary and secondary controls and the exception bitmap of the VMCS in force; 0 outside non-root operation. */
export const ACTIVE_PIN = 0x11018;
export const ACTIVE_PRIMARY = 0x1101c;
export const ACTIVE_SECONDARY = 0x11020;
export const ACTIVE_EXCEPTIONS = 0x11024;
/** 32-bit: groups of fields of the current VMCS that passed the checks of VM entry since they were written last (core/vmx/checks.ts). */
export const VMCS_CHECKED = 0x11028;
/** 32-bit: 1 = a monitor-trap-flag exit is pending, 2 = an instruction is being stepped under the flag. */
export const MONITOR_TRAP = 0x1102c;
/** u64: L1's time-stamp counter at which the VMX-preemption timer expires. */
export const PREEMPTION_DEADLINE = 0x11030;
export const MSR_DEBUGCTL = 0x11038;
export const MSR_FEATURE_CONTROL = 0x11040;
/** 32-bit: nonzero when IRET has unblocked NMIs and not completed yet. */
export const NMI_UNBLOCKED = 0x11048;
/** 32-bit: instruction length of the event that IDT_VECTORING_INFO names. */
export const VECTORING_LENGTH = 0x1104c;
/**
 * 32-bit: what the virtual APIC owes behind the current instruction, 0 = nothing: an exit (its reason, and from bit 8 on its qualification), or
 * VIRTUAL_APIC_WRITE: the emulation of a write at the page offset from bit 8 on.
 */
export const VIRTUAL_APIC_EXIT = 0x11054;
export const VIRTUAL_APIC_QUALIFICATION = 8;
export const VIRTUAL_APIC_WRITE = 0x40000000;
/** u64 each, of a PAUSE loop: when it began, and when it was last in a PAUSE. */
export const PAUSE_LOOP_START = 0x11058;
export const PAUSE_LOOP_LAST = 0x11060;
/** u64: RIP behind the last instruction with which the nested guest has read the time since its entry; not canonical: none. */
export const TIME_READ_AT = 0x11070;
/** u64: L1's time-stamp counter, as that instruction found it. */
export const TIME_READ = 0x11078;
/** 32-bit: nonzero while an INIT waits for the end of VMX root operation. */
export const INIT_BLOCKED = 0x11068;
/** The current VMCS, in the format of the region in memory (core/vmx/vmcs.ts). */
export const VMCS = 0x12000;
/**
 * Root mode's own VMCS for the vCPU, in the same format; core/vmm/rootVmcs.ts programs it. What the processor takes from it and puts into it has
 * names here: controls, then the event that the next VM entry injects (valid with bit 31), then what an exit says (EXIT_REASON is the basic reason).
 */
export const ROOT_VMCS = 0x14000;
/** Root mode's MSR bitmaps, one page for all vCPUs. @sdm 3C 25.6.9 */
export const ROOT_MSR_BITMAPS = 0x15000;
/** Root mode's I/O bitmaps A and B for all vCPUs, one behind the other: a bit a port. @sdm 3C 25.6.4 */
export const ROOT_IO_BITMAPS = 0x16000;
export const ROOT_PRIMARY = ROOT_VMCS + 0x908;
export const ROOT_PREEMPTION_TIMER = ROOT_VMCS + 0xbb8;
export const TSC_OFFSET = ROOT_VMCS + 0x540;
export const ROOT_EPT_POINTER = ROOT_VMCS + 0x568;
export const ENTRY_INTR_INFO = ROOT_VMCS + 0x958;
export const ENTRY_ERROR = ROOT_VMCS + 0x960;
export const ENTRY_LENGTH = ROOT_VMCS + 0x968;
export const EXIT_REASON = ROOT_VMCS + 0x808;
export const EXIT_LENGTH = ROOT_VMCS + 0x830;
export const EXIT_INFO = ROOT_VMCS + 0x838;
export const EXIT_QUALIFICATION = ROOT_VMCS + 0xc00;
export const EXIT_GPA = ROOT_VMCS + 0x400;
export const EXIT_LINEAR = ROOT_VMCS + 0xc28;
/** Tables made from rows, which no reset changes: the capability MSRs from 480H on, u64 each; two bytes per place of a VMCS (FIELD_*, groups). */
export const VMX_CAPABILITIES = 0x13000;
export const VMCS_FIELDS = 0x13100;
export const FIELD_EXISTS = 1;
export const FIELD_READ_ONLY = 2;
/** Bits 3:2: width as in the encoding. */
export const FIELD_WIDTH_SHIFT = 2;

// ---- several processors --------------------------------------------------------------------------------------------------------
/** Of the vCPUs that do not run: what STATE has of them at the same distance, each so far behind the one before (assembly/vcpu.ts). */
export const VCPU_STATES = 0x100000;
export const VCPU_STATE_SIZE = 0x5000;
export const VCPU_LIMIT = 8;
/** 32-bit: the vCPU whose state STATE holds. */
export const RUNNING_VCPU = 0x10c70;

// ---- a debugger outside the guest (debug.ts); a reset leaves it -----------------------------------------------------------------
export const DEBUG = 0x10d00;
/** 32-bit: DEBUG_WATCH while there are watchpoints, DEBUG_EXITS while VM exits are traced. */
export const DEBUG_MODE = 0x10d00;
export const DEBUG_WATCH = 1;
export const DEBUG_EXITS = 2;
/** 32-bit: nonzero while one instruction runs alone. */
export const DEBUG_STEPPING = 0x10d04;
/** u64: linear address of the watched access that was made; 32-bit: 0 = none, else the kind of its watchpoint. */
export const DEBUG_HIT = 0x10d08;
export const DEBUG_HIT_KIND = 0x10d10;
/** 32-bit count, then watchpoints: u64 linear address, u32 length, u32 kind (1 = writes, 2 = reads, 3 = both). */
export const DEBUG_WATCH_COUNT = 0x10d14;
export const DEBUG_WATCHES = 0x10d20;
export const DEBUG_WATCH_LIMIT = 16;
export const DEBUG_BYTES = 0x120;
/** EXIT_REASON of an instruction that was given up because it must run alone (DEBUG_STEPPING); no reason of the SDM has this number. */
export const EXIT_DEBUGGER = 0x10000;

/** Local state of helpers that must survive between calls (string instructions, task switch), 1 KiB. */
export const HELPER_STATE = 0x10800;

// ---- look-aside tables ------------------------------------------------------------------------------------------------------
/** Per privilege: a read table and a write table of 4,096 entries of 16 bytes, an execute table of 1,024 entries.
 *  Data entry: u64 tag (linear address of the page; TLB_EMPTY when none), u32 addend: host = low 32 bits of address + addend.
 *  Execute entry: u64 tag, u32 pointer to the code page's record table.
 *  A write entry exists only for pages that are dirty (D set in the leaf) and hold no decoded code. */
export const TLB_SUPERVISOR = 0x6700000;
export const TLB_USER = 0x6740000;
export const TLB_READ = 0;
export const TLB_WRITE = 0x10000;
export const TLB_EXECUTE = 0x20000;
export const TLB_DATA_MASK = 0xfff0;
export const TLB_EXECUTE_MASK = 0x3ff0;
export const TLB_SPACE = 0x40000;
/**
 * Windows, a read and a write one for each base register, through which regions look first. Each is made from the data entry that the register's last access hit: u64
 * linear address of the page, u32 what its addend is negated, so that V8 subtracts both from memory, an instruction each. Then one for addresses
 * without base, one relative to RIP, one relative to FS or GS. Supervisor code has these, that of CPL 3 others right behind them. They are for one bank of tables,
 * WINDOWS_FOR, and empty when another comes into use.
 */
export const WINDOWS = 0x18000;
export const WINDOW_SIZE = 32;
export const WINDOW_WRITE = 16;
export const WINDOW_COUNT = 20;
export const WINDOW_ABSOLUTE = 16;
export const WINDOW_RIP = 17;
export const WINDOW_SEGMENT = 18;
/** For what is found without a window: entries as they are in the tables. */
export const WINDOW_ANY = 19;
export const WINDOWS_USER = WINDOWS + WINDOW_COUNT * WINDOW_SIZE;
export const WINDOWS_END = WINDOWS_USER + WINDOW_COUNT * WINDOW_SIZE;
/** 32-bit: distance of that bank from the first. */
export const WINDOWS_FOR = WINDOWS_END;
/** RSP's. */
export const WINDOW_STACK = 4;

/**
 * Each vCPU has two banks of such tables, one behind the other: its own, and that of a nested guest. All of a bank, what follows included,
 * lies so far behind the same of the bank before.
 */
export const TLB_BANK = 0x90000;
/** What is known of the tables as a whole (tlb.ts), and what they are for (tlb-context.ts). */
export const TLB_LEDGER = 0x6738000;
export const TLB_CONTEXT = 0x6739000;
/** Addresses of installed entries that are not global (u32 each), so that a flush costs what was used; when full, flush all. */
export const TLB_LOG = 0x6780000;
export const TLB_LOG_CAPACITY = 16384;

// ---- guest-physical pages ---------------------------------------------------------------------------------------------------
/** u32 per 4 KiB page below 4 GiB: pointer to its code-page descriptor, 0 when it holds no decoded code. */
export const PAGE_CODE = 0x200000;
/** u8 per page below 4 GiB: what walks of root mode's EPT have found, PAGE_RAM (backed by RAM_BASE + gpa) or PAGE_ROM (the same, writes exit); 0 = nothing. */
export const PAGE_KIND = 0x600000;
/** Not mapped: accesses exit. */
export const PAGE_MMIO = 0;
export const PAGE_RAM = 1;
export const PAGE_ROM = 2;
/** Root mode's EPT: PML4, PDPT, four page directories; and the page tables, one for each 2 MiB below 4 GiB (core/vmm/rootEpt.ts). */
export const ROOT_EPT = 0x900000;
export const ROOT_EPT_TABLES = 0x1000000;
/** An entry that is not present, in whose ignored bits root mode notes that the page is RAM, to be fetched from a snapshot first. */
export const ROOT_EPT_ABSENT = 0x800;
/** u8 per page below 4 GiB: bit i is set when a write entry of the page may be installed in a look-aside table of vCPU i. */
export const PAGE_WRITE_ENTRY = 0x700000;

/** u8 per page below 4 GiB, for snapshots: HISTORY_CLEAN = as the last snapshot has it, HISTORY_WRITTEN = perhaps not, HISTORY_PENDING = the
 *  snapshot being taken still needs it: it is copied before the first write. A write entry exists only for pages that are WRITTEN. */
export const PAGE_HISTORY = 0x800000;
export const HISTORY_CLEAN = 0;
export const HISTORY_WRITTEN = 1;
export const HISTORY_PENDING = 2;

/**
 * Where regions that end go on, by linear address (`linkOf` in jit/ways.ts): u64 that address, EXECUTE_EPOCH and TLB_BASE, u32 index of the region that begins there. What is found here has
 * been checked: nothing about the code's translations has changed since. Of addresses that share an entry the last one has it. Cleared when a record ceases to lead to
 * the region that it led to.
 */
export const REGION_LINKS = 0x980000;
export const REGION_LINKS_SIZE = 0x10000;
export const REGION_LINK_SIZE = 32;
/** 32-bit: whether any of them has been written since they were cleared. */
export const REGION_LINKED = REGION_LINKS + REGION_LINKS_SIZE;

/** 16 bytes a region, by its index in the function table: u64 linear address of the entry's page, then EXECUTE_EPOCH and TLB_BASE. */
export const REGION_CHECKS = 0xa00000;
export const REGION_CHECKS_SIZE = 0x100000;
export const REGION_CHECK_SIZE = 16;

/** 8 bytes a region, by the same index: what its entry's record held before, R_AUX and R_OP as u32. */
export const REGION_ORIGINALS = 0xb00000;

/**
 * 16 bytes an indirect jump or call of a small region, four a region, by the same index: u64 RIP where it went the last time, and as u32 how often that
 * was where it had gone the time before, and how often not.
 */
export const REGION_TARGETS = 0xc00000;
export const REGION_TARGET_SIZE = 16;
export const REGION_TARGET_SAME = 8;
export const REGION_TARGET_OTHER = 12;
export const REGION_TARGETS_EACH = 4;

export const CODE_ARENA = 0x1800000;
export const CODE_ARENA_END = 0x5f00000;

/** 64 bytes a region, by its index: how often each of a small region's first blocks has run, as u32. */
export const REGION_COUNTS = 0x5f00000;
export const REGION_COUNTS_EACH = 64;
export const REGION_COUNTERS = 16;

/**
 * 64 bytes a region, by its index: u32 how many pages it lies on beside its entry's; for each, i32 its number relative to that one, and as u32 the record
 * table that it was compiled from. Behind them is what it was made for: of legacy code PLAIN_SEGMENTS, and MADE_FOR_USER.
 */
export const REGION_PAGES = 0x6300000;
export const REGION_PAGES_EACH = 64;
export const REGION_MADE_FOR = 60;
export const MADE_FOR_USER = 0x40000000;
/** The last 16 MiB below 4 GiB: addresses wrap, so RAM_BASE + gpa leads here. */
export const ROM_BASE = 0x7000000;
/** Guest-physical address of the ROM area. */
export const ROM_GPA = 0xff000000;
export const RAM_BASE = 0x8000000;
