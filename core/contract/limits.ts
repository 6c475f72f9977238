/** Bounds that every side of the contract checks. */
export const MIB = 1024 * 1024;
export const GIB = 1024 * MIB;

/** Guest RAM: below 16 MiB no supported guest starts; above 3 GiB RAM would meet the 32-bit PCI hole, which is not split yet. */
export const MEMORY_MINIMUM = 16 * MIB;
export const MEMORY_MAXIMUM = 3 * GIB;
export const MEMORY_DEFAULT = 512 * MIB;

export const CPUS_MAXIMUM = 8;
export const SERIAL_PORTS = 4;
/** Places for devices that come and go while a VM runs. */
export const HOT_PLUG_SLOTS = 4;
/** Devices that one VM can have assigned. */
export const DEVICES_MAXIMUM = 8;
export const NAME_LENGTH = 64;
export const GROUP_LENGTH = 40;
export const TAG_LENGTH = 32;
/** That one VM can have. */
export const TAGS_MAXIMUM = 16;
export const APPEND_LENGTH = 2047;
export const MODULES_MAXIMUM = 16;

/** Bytes of each serial port's output that are kept for replay. */
export const SCROLLBACK_BYTES = MIB;
/** Bytes of a console stream that may be on their way to one viewer before it has acknowledged any. */
export const CONSOLE_WINDOW = 256 * 1024;
/** The longest piece of input one `console.write` takes. */
export const CONSOLE_WRITE_BYTES = 64 * 1024;

/** Buckets of a histogram of times: bucket n counts exits of 2^n to 2^(n+1) - 1 nanoseconds; the last one has no upper end. */
export const EXIT_BUCKETS = 32;
/** Exits that one event carries decoded at most, and as records. */
export const RECENT_EXITS = 60;
export const RECORDED_EXITS = 8192;
