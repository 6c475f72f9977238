/** How a machine's vCPUs are arranged, and the APIC IDs that follow from it. @sdm 3A 9.9 */

export interface Topology {
  readonly sockets: number;
  /** In a socket. */
  readonly cores: number;
  /** In a core. */
  readonly threads: number;
}

/** Bits of an APIC ID that `count` things of a level take. */
function bitsOf(count: number): number {
  return Math.ceil(Math.log2(count));
}

/** Bits of an APIC ID below the core's number, and below the socket's. */
export function apicIdBits({ cores, threads }: Topology): { readonly core: number; readonly socket: number } {
  return { core: bitsOf(threads), socket: bitsOf(threads) + bitsOf(cores) };
}

/** APIC IDs of the vCPUs, in order: the threads of a core side by side, and the cores of a socket. There are gaps where a count is no power of two. */
export function apicIds(topology: Topology): readonly number[] {
  const { sockets, cores, threads } = topology;
  const bits = apicIdBits(topology);
  return Array.from({ length: sockets * cores * threads }, (_, index) => {
    const core = Math.floor(index / threads);
    return (Math.floor(core / cores) << bits.socket) | ((core % cores) << bits.core) | (index % threads);
  });
}

/** One socket with a core for each vCPU. */
export function flatTopology(vcpus: number): Topology {
  return { sockets: 1, cores: vcpus, threads: 1 };
}

/** The ID behind those of the local APICs, in the 4 bits that an I/O APIC has. */
export function ioApicId(topology: Topology): number {
  return (Math.max(...apicIds(topology)) + 1) & 0xf;
}
