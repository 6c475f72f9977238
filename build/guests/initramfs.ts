/** The initial RAM file system of the Linux guests: busybox, an init script, something to compress. */

import { writeCpio } from './cpio.ts';

/** Phases of the benchmark: what is printed after BEGIN and END, and the shell command between. */
const phases: readonly { readonly name: string; readonly command: string }[] = [
  { name: 'sha256', command: 'dd if=/dev/zero bs=1M count=64 2>/dev/null | sha256sum' },
  { name: 'gzip', command: 'gzip -c /data.bin | md5sum' },
  { name: 'loop', command: 'n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done; echo $n' },
  { name: 'exec', command: 'n=0; while [ $n -lt 1000 ]; do /bin/busybox true; n=$((n+1)); done; echo $n' },
];

/** Bytes of the kernel image that serve as data for gzip. */
const dataLength = 4_000_000;

/** Prints GUEST-READY, then obeys the words `bootonly` and `shell` of the kernel command line, or runs the benchmark; powers off. */
const initScript = `#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
exec 0</dev/console 1>/dev/console 2>&1
echo GUEST-READY
uname -a
for word in $(cat /proc/cmdline); do
  case $word in
    bootonly) poweroff -f ;;
    shell) setsid cttyhack sh; poweroff -f ;;
  esac
done
${phases.map(({ name, command }) => `echo BEGIN ${name}\nsh -c '${command}'\necho END ${name}`).join('\n')}
echo GUEST-DONE
poweroff -f
`;

/** Commands that scripts and people expect by their names. */
const applets = [
  'sh', 'ash', 'awk', 'cat', 'cp', 'cttyhack', 'date', 'dd', 'dmesg', 'echo', 'env', 'expr', 'false', 'find', 'free', 'grep', 'gunzip', 'gzip', 'head', 'hexdump',
  'insmod', 'kill', 'ls', 'lsmod', 'md5sum', 'mkdir', 'mknod', 'modprobe', 'mount', 'mv', 'od', 'poweroff', 'printf', 'ps', 'reboot', 'rm', 'sed', 'seq', 'setsid',
  'sha256sum', 'sleep', 'sort', 'stty', 'tail', 'test', 'time', 'top', 'touch', 'tr', 'true', 'umount', 'uname', 'uptime', 'usleep', 'vi', 'wc', 'yes',
];

/** Builds the archive from a static busybox and the kernel that will unpack it. */
export function buildInitramfs(busybox: Uint8Array, kernel: Uint8Array): Uint8Array {
  return writeCpio([
    ...['bin', 'dev', 'proc', 'sys', 'tmp', 'mod'].map(path => ({ kind: 'directory', path }) as const),
    // The kernel opens the console before anything is mounted.
    { kind: 'device', path: 'dev/console', major: 5, minor: 1 },
    { kind: 'device', path: 'dev/null', major: 1, minor: 3 },
    { kind: 'file', path: 'bin/busybox', data: busybox, executable: true },
    ...applets.map(applet => ({ kind: 'link', path: `bin/${applet}`, target: 'busybox' }) as const),
    { kind: 'file', path: 'init', data: Buffer.from(initScript), executable: true },
    { kind: 'file', path: 'data.bin', data: kernel.subarray(0, dataLength) },
  ]);
}
