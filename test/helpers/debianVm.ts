/** A Debian guest as a VM of a test engine, with a shell on its console that answers commands. */
import { execFileSync, spawnSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import type { Client, VmConfig } from '../../core/contract/index.ts';
import { history, type, until } from './engine.ts';
import type { Guest } from './guests.ts';

const ANSWER_MS = 60_000;

export class DebianVm {
  readonly client: Client;
  readonly name: string;
  #question = 0;

  constructor(client: Client, name: string) {
    this.client = client;
    this.name = name;
  }

  /** Creates it; it does not run yet. @param guest with the drivers of disks (driver-guest.ts) */
  static async create(client: Client, name: string, guest: Guest, config: Partial<VmConfig> = {}): Promise<DebianVm> {
    const boot = { kind: 'image', kernel: guest.kernel, initrd: guest.initramfs, append: 'console=ttyS0 quiet', modules: [] } as const;
    await client.call('vm.create', { config: { name, memoryBytes: 256 << 20, ...config, boot: { ...boot, modules: [] } } });
    return new DebianVm(client, name);
  }

  /** Starts it and waits for its shell, at most `limitMs`. */
  async boot(limitMs = ANSWER_MS): Promise<void> {
    await this.client.call('console.clear', { vm: this.name, port: 0 });
    await this.client.call('vm.start', { vm: this.name });
    await until(async () => (await history(this.client, this.name)).split('GUEST-READY')[1]?.includes('# '), 'the shell of the guest', limitMs);
  }

  /** What a command prints, with plain line ends. */
  async ask(command: string): Promise<string> {
    this.#question += 1;
    const mark = `${this.#question}-${process.hrtime.bigint()}`;
    // The quotes keep the echo of the typed line from looking like the marks.
    await type(this.client, this.name, `echo B''${mark}; ${command}; echo E''${mark}\n`);
    const shown = await until(async () => {
      const text = await history(this.client, this.name);
      return text.includes(`E${mark}\r\n`) && text;
    }, `the answer to ${command}`, ANSWER_MS);
    return shown.slice(shown.indexOf(`B${mark}\r\n`) + mark.length + 3, shown.indexOf(`E${mark}\r\n`)).replaceAll('\r\n', '\n');
  }
}

/** A raw image with an empty ext4 file system. */
export function ext4Image(path: string, mebibytes = 64): string {
  writeFileSync(path, '');
  truncateSync(path, mebibytes << 20);
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-F', path]);
  return path;
}

/** What e2fsck says of a raw image's file system: 0 is clean. */
export function checkExt4(path: string): number | null {
  return spawnSync('e2fsck', ['-f', '-n', path]).status;
}
