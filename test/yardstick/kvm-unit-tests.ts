/** The tests of kvm-unit-tests: their list as unittests.cfg has it, how each is run, and what its output says. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A section of unittests.cfg. */
export interface UnitTest {
  readonly name: string;
  readonly file: string;
  readonly args: string;
  readonly cpus: number;
  readonly groups: readonly string[];
  readonly qemu: readonly string[];
  readonly arch: string;
  readonly seconds: number;
}

export function parseList(text: string): UnitTest[] {
  return text.split(/^\[/m).slice(1).map(section => {
    const fields = new Map([...section.matchAll(/^(\w+)\s*=\s*(.*)$/gm)].map(([, key, value]) => [key!, value!.trim()]));
    return {
      name: section.slice(0, section.indexOf(']')), file: fields.get('file') ?? '', args: unquote(fields.get('test_args') ?? ''),
      cpus: Number(fields.get('smp') ?? 1), groups: (fields.get('groups') ?? '').split(/\s+/).filter(group => group !== ''),
      qemu: (fields.get('qemu_params') ?? '').split(/\s+/).filter(word => word !== ''), arch: fields.get('arch') ?? '', seconds: Number(fields.get('timeout') ?? 90),
    };
  });
}

const unquote = (text: string): string => text.replace(/^(['"])(.*)\1$/, '$2');

/** Why a test says nothing about this machine. */
const OUTSIDE: readonly { readonly applies: (test: UnitTest) => boolean; readonly reason: string }[] = [
  { applies: ({ groups }) => groups.includes('nodefault'), reason: 'not in the suite\'s own default list' },
  { applies: ({ name }) => name.startsWith('svm'), reason: 'AMD\'s SVM' },
  { applies: ({ name }) => name.startsWith('hyperv'), reason: 'Hyper-V\'s interface' },
  { applies: ({ name }) => ['asyncpf', 'vmware_backdoors'].includes(name), reason: 'an interface of KVM' },
  { applies: ({ name }) => name === 'vmexit_ple_round_robin', reason: 'measures, and never ends on one processor' },
  { applies: ({ arch }) => arch === 'i386', reason: '32-bit build' },
];

/** Processor models for tests that are about a feature's absence. */
const MODELS: Readonly<Record<string, string>> = { 'pcid-disabled': 'x86-64-v1', msr64: 'x86-64-v2', xapic: 'x86-64-v1' };

/** Why a test is left out; empty when it is run. */
export function outside(test: UnitTest, folder: string): string {
  const found = OUTSIDE.find(({ applies }) => applies(test));
  if (found) return found.reason;
  return existsSync(join(folder, test.file)) ? '' : 'not built';
}

export interface Outcome {
  readonly passed: number;
  readonly failed: readonly string[];
  readonly skipped: number;
  readonly ending: string;
  readonly seconds: number;
  readonly output: string;
}

const ENDINGS: Readonly<Record<number, string>> = { 1: 'passed', 3: 'failed', 124: 'out of time', 125: 'refused', 126: 'triple fault', 77: 'skipped', 127: 'aborted' };

/** Starts a command and reads its output. */
async function execute(command: string, args: readonly string[], seconds: number): Promise<Outcome> {
  const started = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let late = false;
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => { output += data.toString('latin1'); });
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, seconds * 1000);
  const status = await new Promise<number>(resolve => child.on('close', code => resolve(late ? 124 : code ?? -1)));
  clearTimeout(timer);
  const lines = output.split('\n').map(line => line.trim());
  const starting = (word: string): string[] => lines.filter(line => line.startsWith(`${word}: `) || line.startsWith(`${word} `)).map(line => line.slice(word.length + 1).trim());
  const failed = starting('FAIL');
  // What the suite expects KVM to fail, and passes, makes it end as failed.
  const better = starting('XPASS').length;
  const ending = ENDINGS[status] ?? `status ${status}`;
  return {
    passed: starting('PASS').length + better, failed, skipped: starting('SKIP').length,
    ending: ending === 'failed' && failed.length === 0 && better > 0 ? `passed, ${better} where a failure is expected` : ending, seconds: (performance.now() - started) / 1000, output,
  };
}

/** Megabytes where the list says nothing: VT-x's tests count on QEMU's default, since one names memory that must not be there. */
const MEMORY: Readonly<Record<string, string>> = { 'vmx.flat': '128' };

/** The aliased APIC IDs of this test are those of the third and fourth processor as well, and it wants the answers of two. */
const PROCESSORS_AT_MOST: Readonly<Record<string, number>> = { xapic: 2 };

/** The test on another number of processors, or on as many as it is written for. */
export function onProcessors(test: UnitTest, cpus: number): UnitTest {
  return { ...test, cpus: Math.min(cpus, PROCESSORS_AT_MOST[test.name] ?? cpus) };
}

/** Where the environment says that there is no test device, apic.flat leaves KVM's hypercalls out, and syscall.flat SYSCALL of 32-bit programs, which is AMD's. */
const WITHOUT_DEVICE = new Set(['xapic', 'x2apic', 'syscall']);

/** What else a test needs, and arguments in place of those of the list. */
const SPECIAL: Readonly<Record<string, { readonly machine: string; readonly args: () => string }>> = {
  hypercall: { machine: 'kvm=on', args: () => '' },
  vmexit_vmcall: { machine: 'kvm=on', args: () => 'vmcall' },
  // The list asks for ten million rounds and leaves the date to its shell.
  kvmclock_test: { machine: 'kvm=on', args: () => `300000 ${Math.floor(Date.now() / 1000)}` },
};

/** Runs a test on this machine. */
export async function runOurs(test: UnitTest, folder: string, seconds: number, options: readonly string[]): Promise<Outcome> {
  const special = SPECIAL[test.name];
  const args = special?.args() ?? test.args;
  const machine = [...(special ? [special.machine] : []), ...(test.qemu.some(word => word.startsWith('intel-iommu')) ? ['iommu=on'] : [])].join(',');
  const scratch = mkdtempSync(join(tmpdir(), 'vanderpool-yardstick-'));
  const memory = /-m (\d+)$/.exec(test.qemu.join(' '))?.[1] ?? MEMORY[test.file] ?? '512';
  const environment = join(scratch, 'environment');
  writeFileSync(environment, `NR_CPUS=${test.cpus}\nMEMSIZE=${memory}\nTEST_DEVICE=${WITHOUT_DEVICE.has(test.name) ? 0 : 1}\n`);
  try {
    return await execute(process.execPath, [
      join(import.meta.dirname, '../../build/launch.mjs'), 'run', '--test-devices', '--kernel', join(folder, test.file), '--module', environment, '--memory', `${memory}M`, '--cpus', `${test.cpus}`,
      '--cpu', MODELS[test.name] ?? 'max', '--timeout', `${seconds}`, ...(machine === '' ? [] : ['--machine', machine]), ...(args === '' ? [] : ['--append', args]), ...options,
    ], seconds + 10);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** Runs a test in QEMU without acceleration. */
export function runQemu(test: UnitTest, folder: string, seconds: number): Promise<Outcome> {
  const wanted = test.qemu.filter(word => word !== '-enable-kvm').map(word => (word === 'host' || word.startsWith('host,') ? 'max' : word.replace(',host-phys-bits', '')));
  return execute('qemu-system-x86_64', [
    '-nodefaults', '-device', 'pc-testdev', '-device', 'isa-debug-exit,iobase=0xf4,iosize=0x4', '-display', 'none', '-serial', 'stdio', '-device', 'pci-testdev',
    '-machine', 'accel=tcg', '-smp', `${test.cpus}`, '-kernel', join(folder, test.file), ...(test.args === '' ? [] : ['-append', test.args]), ...wanted,
  ], seconds);
}

export function readList(folder: string): UnitTest[] {
  return parseList(readFileSync(join(folder, 'unittests.cfg'), 'utf8'));
}
