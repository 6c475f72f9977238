/** `npm test [vitest arguments]`: sees that the machine has what the tests need, builds, runs the tests, and prints the totals. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { root } from './parts.mjs';

interface Tool {
  /** Any one of these programs, or files by their absolute paths, will do. */
  readonly programs: readonly string[];
  /** The Debian package that brings it. */
  readonly package: string;
  readonly why: string;
}

const tools: readonly Tool[] = [
  { programs: ['chromium', 'chromium-browser', 'google-chrome'], package: 'chromium', why: 'the end-to-end tests drive the interface in a browser' },
  { programs: ['gcc'], package: 'gcc', why: 'the differential tests compile a harness for the native processor' },
  { programs: ['/usr/include/stdio.h'], package: 'libc6-dev', why: 'the differential tests compile C' },
  { programs: ['iasl'], package: 'acpica-tools', why: 'the ACPI tables are disassembled and compiled again' },
  { programs: ['ld'], package: 'binutils', why: 'the differential tests link their harness' },
  { programs: ['script'], package: 'bsdutils', why: 'the command line is tested on a terminal, too' },
  { programs: ['cpio'], package: 'cpio', why: 'archives made by the image tools are read back' },
  { programs: ['mke2fs', '/usr/sbin/mke2fs', '/sbin/mke2fs'], package: 'e2fsprogs', why: 'guests write to file systems that are checked afterwards' },
  { programs: ['qemu-img'], package: 'qemu-utils', why: 'disk images are read and written by an independent program, too' },
  { programs: ['/usr/share/seabios/bios-256k.bin'], package: 'seabios', why: 'machines start from a BIOS' },
  { programs: ['/usr/share/OVMF/OVMF_CODE_4M.fd'], package: 'ovmf', why: 'machines start from UEFI firmware' },
  { programs: ['grub-mkrescue'], package: 'grub-common', why: 'ISO images that boot are made for them' },
  { programs: ['/usr/lib/grub/i386-pc/boot.img'], package: 'grub-pc-bin', why: 'those images start from a BIOS' },
  { programs: ['/usr/lib/grub/x86_64-efi/modinfo.sh'], package: 'grub-efi-amd64-bin', why: 'those images start from UEFI firmware' },
  { programs: ['xorriso'], package: 'xorriso', why: 'ISO images are written' },
  { programs: ['mformat'], package: 'mtools', why: 'ISO images for UEFI hold a FAT file system' },
  { programs: ['/usr/lib/ISOLINUX/isolinux.bin'], package: 'isolinux', why: 'a second boot loader starts from ISO images' },
  { programs: ['/usr/lib/syslinux/modules/bios/ldlinux.c32'], package: 'syslinux-common', why: 'isolinux needs it' },
  { programs: ['tshark'], package: 'tshark', why: 'recordings of networks are read by an independent program' },
  { programs: ['zsh'], package: 'zsh', why: 'the script that completes words in it is run by it' },
  { programs: ['fish'], package: 'fish', why: 'the same' },
  { programs: ['gdb'], package: 'gdb', why: 'GDB debugs a guest' },
];

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numFailedTestSuites: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

provide();
const built = spawnSync(process.execPath, [join(root, 'build/build.ts')], { cwd: root, stdio: 'inherit' });
if (built.status !== 0) process.exit(1);
process.exit(runTests(process.argv.slice(2)));

/** Installs what is missing where that is possible and harmless (Debian, as root); elsewhere names it and stops. */
function provide(): void {
  const missing = tools.filter(({ programs }) => !programs.some(inPath));
  if (missing.length === 0) return;
  const packages = missing.map((tool) => tool.package);
  if (process.getuid?.() !== 0 || !inPath('apt-get')) {
    for (const tool of missing) console.error(`Missing: ${tool.programs[0]}, because ${tool.why}.`);
    console.error(`On Debian: sudo apt-get install ${packages.join(' ')}`);
    process.exit(1);
  }
  console.log(`Installing from Debian: ${packages.join(', ')}.`);
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const install = (): number => spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages], { stdio: 'inherit', env: environment }).status ?? 1;
  // Package lists may be absent or old: bring them up to date only when the first try fails.
  if (install() === 0) return;
  spawnSync('apt-get', ['update', '-q'], { stdio: 'inherit', env: environment });
  if (install() !== 0) {
    console.error(`apt-get could not install ${packages.join(', ')}; what it said is above.`);
    process.exit(1);
  }
}

function runTests(args: readonly string[]): number {
  const folder = join(root, '.cache');
  const file = join(folder, `tests-${process.pid}.json`);
  mkdirSync(folder, { recursive: true });
  const vitest = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`, ...args];
  const run = spawnSync(process.execPath, vitest, { cwd: root, stdio: 'inherit' });
  if (!existsSync(file)) {
    console.error('The test runner ended without a report.');
    console.log('0 passed, 1 failed');
    return 1;
  }
  const report = JSON.parse(readFileSync(file, 'utf8')) as Report;
  rmSync(file);
  const skipped = report.testResults.flatMap(({ assertionResults }) => assertionResults.filter(({ status }) => status === 'pending' || status === 'skipped'));
  for (const test of skipped) console.log(`skipped: ${test.fullName}`);
  // A file that does not even load holds no failed test, yet it failed.
  const broken = report.testResults.filter((suite) => suite.status === 'failed' && !suite.assertionResults.some(({ status }) => status === 'failed'));
  for (const suite of broken) console.log(`failed to run: ${suite.name}`);
  const failed = report.numFailedTests + broken.length;
  console.log(`${report.numPassedTests} passed, ${failed} failed`);
  return run.status === 0 && failed === 0 ? 0 : 1;
}

function inPath(program: string): boolean {
  if (program.startsWith('/')) return existsSync(program);
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}
