/** Runs a 32-bit Linux guest on v86, its serial port on standard output. Usage: node v86.ts KERNEL INITRD COMMAND-LINE; `npm run bench` starts it. */
import { join } from 'node:path';
import { root } from '../helpers/command-line.ts';

interface Emulator {
  add_listener(event: string, listener: (byte: number) => void): void;
}
interface Module {
  readonly V86: new (options: object) => Emulator;
}

const [kernel, initrd, cmdline] = process.argv.slice(2);
const folder = join(root, '.cache/peers/node_modules/v86/build');
/** Firmware comes with Debian's package seabios, which QEMU needs too. */
const firmware = '/usr/share/seabios';
const { V86 } = (await import(join(folder, 'libv86.mjs'))) as Module;
const emulator = new V86({
  wasm_path: join(folder, 'v86.wasm'), memory_size: 512 << 20, vga_memory_size: 2 << 20, bios: { url: join(firmware, 'bios.bin') },
  vga_bios: { url: join(firmware, 'vgabios-stdvga.bin') }, bzimage: { url: kernel }, initrd: { url: initrd }, cmdline, acpi: true, autostart: true,
});
let line = '';
emulator.add_listener('serial0-output-byte', (byte) => {
  const character = String.fromCharCode(byte);
  process.stdout.write(character);
  line = character === '\n' ? '' : line + character;
  // It has no power-off that ends the process.
  if (line.startsWith('GUEST-DONE')) setTimeout(() => process.exit(0), 100);
});
