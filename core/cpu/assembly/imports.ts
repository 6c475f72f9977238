/** What the host (TypeScript) provides. An exit handler runs in root mode, synchronously, while the instruction waits for its data. */

/** Reads `size` (1, 2, 4, 8) bytes of MMIO at a guest-physical address: an EPT violation handled by root mode. */
// @ts-ignore: decorator
@external('host', 'mmioRead')
export declare function mmioRead(gpaLow: u32, gpaHigh: u32, size: i32): f64;
/** Upper 32 bits of the last 8-byte `mmioRead`, whose return value then holds the lower 32 bits only. */
// @ts-ignore: decorator
@external('host', 'mmioReadHigh')
export declare function mmioReadHigh(): u32;
// @ts-ignore: decorator
@external('host', 'mmioWrite')
export declare function mmioWrite(gpaLow: u32, gpaHigh: u32, size: i32, low: u32, high: u32): void;
/** The processor's time-stamp counter before offset, as a double (exact below 2^53). */
// @ts-ignore: decorator
@external('host', 'timestamp')
export declare function timestamp(): f64;
/** Decodes instructions at guest-physical `gpa`, linear address given by RIP and CS, into records; returns the first record's address,
 *  or 0 when an exception is pending in FAULT (for example a page fault on the second page of an instruction). */
// @ts-ignore: decorator
@external('host', 'decode')
export declare function decode(gpa: u32, descriptor: u32): u32;
/** Writes to or reads from a port, one unit of a string I/O instruction, handled by root mode. */
// @ts-ignore: decorator
@external('host', 'portRead')
export declare function portRead(port: u32, size: i32): u32;
// @ts-ignore: decorator
@external('host', 'portWrite')
export declare function portWrite(port: u32, size: i32, value: u32): void;
/** Random 32 bits for RDRAND and RDSEED. */
// @ts-ignore: decorator
@external('host', 'random')
export declare function random(): u32;
/** Whether the instruction at RIP addresses its memory operand through RSP or RBP, hence in the stack segment. */
// @ts-ignore: decorator
@external('host', 'stackOperand')
export declare function stackOperand(): bool;
/** Fetches a page (gpa >> 12) whose entry is ROOT_EPT_ABSENT from the snapshot that is being restored. */
// @ts-ignore: decorator
@external('host', 'fetchPage')
export declare function fetchPage(page: u32): void;
/** Keeps the content of a HISTORY_PENDING page, which is about to be written, for the snapshot that is being taken. */
// @ts-ignore: decorator
@external('host', 'preservePage')
export declare function preservePage(page: u32): void;
/** Runs the given groups of VM-entry checks (core/vmx/checks.ts): 0, a VM-instruction error, or exit reason 33 with the qualification above it. */
// @ts-ignore: decorator
@external('host', 'vmEntryChecks')
export declare function vmEntryChecks(groups: u32): u32;
/** VM-exit instruction information of the instruction at RIP for an exit reason; its displacement goes to ARGUMENTS. */
// @ts-ignore: decorator
@external('host', 'instructionInformation')
export declare function instructionInformation(reason: u32): u32;
/** Bytes of the instruction at RIP. */
// @ts-ignore: decorator
@external('host', 'instructionLength')
export declare function instructionLength(): u32;
/** While exits are traced: a nested guest (L2) has left for its hypervisor (L1), the exit's fields being in the VMCS, or goes on. */
// @ts-ignore: decorator
@external('host', 'nestedSwitch')
export declare function nestedSwitch(left: u32): void;
/** VMCALL of a guest to root mode: false when there is nobody to call, and the instruction is what it is without a hypervisor. */
// @ts-ignore: decorator
@external('host', 'hypercall')
export declare function hypercall(): bool;
/** An MSR that root mode keeps: 1 with the value in ARGUMENTS, 0 for #GP(0). */
// @ts-ignore: decorator
@external('host', 'msrRead')
export declare function msrRead(index: u32): u32;
// @ts-ignore: decorator
@external('host', 'msrWrite')
export declare function msrWrite(index: u32, low: u32, high: u32): u32;
