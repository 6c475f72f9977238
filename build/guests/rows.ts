/** The guests that `npm run guests` knows, as rows. */

export interface GuestRow {
  /** What is typed on the command line, and the folder's name in the cache. */
  readonly name: string;
  readonly title: string;
  readonly architecture: 'amd64' | 'i386';
  /** The Debian release that it comes from, when it is another than the machine's own. */
  readonly suite?: string;
  /** Debian packages whose files are taken. A `kernel` is a package that depends on the one that is wanted. */
  readonly packages: readonly string[];
  readonly kernel?: string;
  /** Whether everything that the packages depend on is taken too: for programs that run in a guest. */
  readonly dependencies?: boolean;
  /** Whether an initramfs with busybox is built: the packages then hold busybox-static. */
  readonly initramfs: boolean;
  readonly fetchedByDefault: boolean;
}

export const guestRows: readonly GuestRow[] = [
  {
    name: 'amd64', title: 'Debian cloud kernel, 64 bits', architecture: 'amd64', kernel: 'linux-image-cloud-amd64', packages: ['busybox-static'], initramfs: true,
    fetchedByDefault: true,
  },
  {
    name: 'i386', title: 'Debian 686 kernel, 32 bits', architecture: 'i386', kernel: 'linux-image-686', packages: ['busybox-static'], initramfs: true,
    fetchedByDefault: true,
  },
  {
    name: 'amd64-full', title: 'Debian kernel with all drivers', architecture: 'amd64', kernel: 'linux-image-amd64', packages: ['busybox-static'],
    initramfs: true, fetchedByDefault: false,
  },
  { ...extra('qemu', 'QEMU with all its libraries, for guests in guests', 'qemu-system-x86'), dependencies: true },
  { ...extra('pciutils', 'lspci with its libraries', 'pciutils'), dependencies: true },
  extra('xen', 'Xen hypervisor', 'xen-hypervisor-4.17-amd64'),
  { ...extra('installer', 'Debian installer, network boot', 'debian-installer-13-netboot-amd64'), suite: 'trixie' },
  extra('seabios', 'BIOS firmware', 'seabios'),
  extra('ovmf', 'UEFI firmware', 'ovmf'),
  extra('memtest', 'Memory test', 'memtest86+'),
  extra('ipxe', 'Network boot firmware', 'ipxe', 'ipxe-qemu'),
  extra('grub', 'Boot loader for PCs', 'grub-pc-bin'),
  extra('isolinux', 'Boot loader for ISO images', 'isolinux'),
];

function extra(name: string, title: string, ...packages: readonly string[]): GuestRow {
  return { name, title, architecture: 'amd64', packages, initramfs: false, fetchedByDefault: false };
}
