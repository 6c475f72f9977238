/**
 * A predecoded instruction: 32 bytes in the code arena. Records of one run lie one behind the other; a page's record table maps the
 * offset of an instruction within its page to its record.
 */
export const RECORD_SIZE = 32;
export const RECORD_SHIFT = 5;

/** Instructions that one run holds at most. */
export const RUN_LIMIT = 64;
/** Field of a code page's descriptor: nonzero when a region that begins on another page has been compiled from its record tables. */
export const DESCRIPTOR_SHARED = 28;

/** Byte offsets of the fields. Register fields are offsets from STATE. */
export const R_OP = 0; // u16: case of the switch, or from HOT_LIMIT on index into the table of cold functions
export const R_OFFSET = 2; // u16: offset of the instruction in its page
export const R_LENGTH = 4; // u8
export const R_G = 6; // u16
export const R_E = 8; // u16: register operand, or base register of the memory operand
export const R_INDEX = 10; // u16
export const R_SEGMENT = 12; // u16: segment register structure, or ZERO
export const R_SCALE = 14; // u8
export const R_IMMEDIATE = 16; // i64
export const R_DISPLACEMENT = 24; // i32; for direct branches, with R_AUX as upper half, the target relative to the page's first byte
export const R_AUX = 28; // u32

/** Pseudo-operations. */
export const OP_RELOOKUP = 0; // the run ends here (or was invalidated): find the instruction at this offset again
export const OP_GOTO = 1; // R_AUX holds the record that follows
export const OP_STOP = 2; // ends a single step
export const OP_CROSS = 3; // the next record's instruction continues on the next page: verify it
export const OP_REGION = 4; // R_AUX holds the table index of a compiled region that begins here
export const OP_FIRST = 5;

/** STATUS of an instruction's helper, or of a form: 0 is OK. A fault is pending. */
export const STATUS_FAULT = 1;
/** Control goes on at the RIP in the state. */
export const STATUS_JUMP = 2;
/** A VM exit is pending. */
export const STATUS_EXIT = 3;
/** Done; mode, translations or interruptibility may have changed. */
export const STATUS_SYNC = 4;

/** What a region returns, beside the STATUS values of helpers: go on at the RIP in the state. */
export const REGION_DONE = 5;
/** Code on another page that the region includes has changed: its entry must be interpreted. */
export const REGION_STALE = 6;
/** The next instruction must be carried out alone by the interpreter: it writes to code, or meets a data breakpoint. */
export const REGION_STEP = 7;
