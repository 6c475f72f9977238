/** Snapshots of a guest of 1 GB of which 300 MB are used: ours, through the contract, and QEMU's savevm and loadvm on qcow2, in one run. */
import { fork, spawn, spawnSync } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '../../core/contract/client.ts';
import { connectEngine } from '../../core/engine/connect.ts';
import { root } from '../helpers/command-line.ts';
import type { Guest } from '../helpers/guests.ts';
import { median } from './phases.ts';
import { qemu, provide } from './peers.ts';
import { printTable } from './table.ts';

const VM = 'Bench';
const MEMORY = 1024;
const FILL = 'dd if=/dev/urandom of=/tmp/fill bs=1M count=200; echo FIL""LED';
const APPEND = 'console=ttyS0 quiet shell';
/** A process has been made by then that waits for a machine. */
const SPARE_MS = 4000;
const PATIENCE_MS = 240_000;

interface Figures {
  readonly pause: number[];
  readonly restore: number[];
  /** By a process that has just begun: its code is not compiled yet. */
  readonly restoreNew: number[];
  readonly suspend: number[];
  /** In the process that waits for a machine. */
  readonly resume: number[];
  /** So soon after another start that none waits yet. */
  readonly resumeNew: number[];
  /** Bytes that the second snapshot of the idle guest wrote. */
  second: number | null;
}

/** Prints a table of medians of `runs`. */
export async function snapshots(guest: Guest, runs: number, withPeer: boolean): Promise<void> {
  const mine = await measureOurs(guest, runs);
  const theirs = withPeer ? await measureQemu(guest, runs) : null;
  const ms = (values: readonly number[] | undefined): string => (values && values.length > 0 ? `${median([...values]).toFixed(1)} ms` : '-');
  const mb = (bytes: number | null | undefined): string => (bytes === null || bytes === undefined ? '-' : `${(bytes / 1e6).toFixed(2)} MB`);
  printTable(['snapshots: 1 GB, 300 MB used', 'ours', ...(theirs ? ['qemu'] : [])], [
    ['guest stands still for a live snapshot', ms(mine.pause), ...(theirs ? [ms(theirs.pause)] : [])],
    ['restore, until the guest runs', ms(mine.restore), ...(theirs ? [ms(theirs.restore)] : [])],
    ['the same in a new process', ms(mine.restoreNew), ...(theirs ? [''] : [])],
    ['second snapshot of the idle guest writes', mb(mine.second), ...(theirs ? [mb(theirs.second)] : [])],
    ['suspend', ms(mine.suspend), ...(theirs ? [''] : [])],
    ['resume, until the guest runs', ms(mine.resume), ...(theirs ? [''] : [])],
    ['the same without a process that waits', ms(mine.resumeNew), ...(theirs ? [''] : [])],
  ]);
}

/** The engine as it is delivered: run from sources, each process would strip their types first. */
function launchBuilt(folder: string): Promise<void> {
  const child = fork(join(root, 'dist/engine.js'), [folder], { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  return new Promise((resolve, reject) => {
    child.once('message', () => {
      child.disconnect();
      child.unref();
      resolve();
    });
    child.once('exit', (code) => reject(new Error(`the engine ended with status ${code}`)));
  });
}

async function timed(action: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await action();
  return performance.now() - begun;
}

async function measureOurs(guest: Guest, runs: number): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-bench-'));
  const figures: Figures = { pause: [], restore: [], restoreNew: [], suspend: [], resume: [], resumeNew: [], second: null };
  const client = await connectEngine(folder, launchBuilt);
  try {
    const boot = { kind: 'image' as const, kernel: guest.kernel, initrd: guest.initramfs, append: APPEND, modules: [] };
    await client.call('vm.create', { config: { name: VM, memoryBytes: MEMORY << 20, boot } });
    await client.call('vm.start', { vm: VM });
    await shown(client, /# (\x1b\[6n)?$/);
    await client.call('console.write', { vm: VM, port: 0, data: new TextEncoder().encode(`${FILL}\n`) });
    await shown(client, /^FILLED/m);
    const written = (): number => readdirSync(join(folder, 'chunks')).reduce((sum, name) => sum + statSync(join(folder, 'chunks', name)).size, 0);
    for (let run = 0; run < runs; run += 1) {
      figures.pause.push((await client.call('snapshot.take', { vm: VM, name: `live ${run}` })).pauseMilliseconds);
      if (run > 0) continue;
      const before = written();
      await client.call('snapshot.take', { vm: VM, name: 'second' });
      figures.second = written() - before;
    }
    const restore = (): Promise<number> => timed(() => client.call('snapshot.restore', { vm: VM, snapshot: 'live 0', paused: false }));
    for (let run = 0; run < runs; run += 1) figures.restore.push(await restore());
    const resume = (): Promise<number> => timed(() => client.call('vm.resume', { vm: VM }));
    for (let run = 0; run < runs; run += 1) {
      figures.suspend.push(await timed(() => client.call('vm.suspend', { vm: VM })));
      await new Promise((resolve) => setTimeout(resolve, SPARE_MS));
      figures.resume.push(await resume());
      figures.restoreNew.push(await restore());
      await client.call('vm.suspend', { vm: VM });
      figures.resumeNew.push(await resume());
    }
    return figures;
  } finally {
    const gone = new Promise<void>((resolve) => client.onClose(resolve));
    await client.call('engine.stop', { force: true });
    await gone;
    rmSync(folder, { recursive: true, force: true });
  }
}

async function shown(client: Client, text: RegExp): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (performance.now() < end) {
    const { data } = await client.call('console.history', { vm: VM, port: 0 });
    if (text.test(Buffer.from(data).toString('latin1').replaceAll('\r', ''))) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`the guest did not print ${String(text)}`);
}

/** The guest stands still for all of savevm, and for all of loadvm. */
async function measureQemu(guest: Guest, runs: number): Promise<Figures> {
  provide(qemu);
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-bench-'));
  const disk = join(folder, 'disk.qcow2');
  const made = spawnSync('qemu-img', ['create', '-q', '-f', 'qcow2', disk, '1G']);
  if (made.status !== 0) throw new Error('qemu-img could not make a disk; on Debian: sudo apt-get install qemu-utils');
  const figures: Figures = { pause: [], restore: [], restoreNew: [], suspend: [], resume: [], resumeNew: [], second: null };
  const child = spawn('qemu-system-x86_64', [
    '-accel', 'tcg,thread=single', '-m', String(MEMORY), '-display', 'none', '-serial', 'mon:stdio', '-kernel', guest.kernel, '-initrd', guest.initramfs, '-append', APPEND,
    '-drive', `file=${disk},if=ide,format=qcow2`,
  ]);
  const talk = new Talk(child);
  try {
    await talk.until(/# (\x1b\[6n)?$/);
    talk.type(`${FILL}\n`);
    await talk.until(/FILLED[^]*# (\x1b\[6n)?$/);
    // Ctrl-A c: from the serial line to QEMU's monitor.
    talk.type('\x01c');
    await talk.until(/\(qemu\) $/);
    for (let run = 0; run < runs; run += 1) {
      const before = statSync(disk).blocks * 512;
      figures.pause.push(await timed(() => talk.command(`savevm s${run}`)));
      if (run === 1) figures.second = statSync(disk).blocks * 512 - before;
    }
    for (let run = 0; run < runs; run += 1) figures.restore.push(await timed(() => talk.command('loadvm s0')));
    return figures;
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A conversation with a program: what it printed since the last thing that was typed. */
class Talk {
  readonly #child: ChildProcessWithoutNullStreams;
  #heard = '';

  constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    child.stdout.on('data', (chunk: Buffer) => void (this.#heard += chunk.toString('latin1').replaceAll('\r', '')));
  }

  type(text: string): void {
    this.#heard = '';
    this.#child.stdin.write(text);
  }

  async until(text: RegExp): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (!text.test(this.#heard)) {
      if (performance.now() > end) throw new Error(`QEMU did not print ${String(text)}, but: ${this.#heard.slice(-300)}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  command(line: string): Promise<void> {
    this.type(`${line}\n`);
    return this.until(/\n\(qemu\) $/);
  }
}
