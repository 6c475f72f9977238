/** An engine that plays a script over the real wire: for the looks of states that a real one reaches rarely, such as a crash. */
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { asContractError, ContractError, decodeText, encodeText, operations, parseClientMessage, parseWith, settings as settingsSchema, settingsDefaults, vmChanges, vmDefaults, withChanges } from '../../core/contract/index.ts';
import type { ClientMessage, DisplayInput, HostInfo, MetricsEvent, OperationInput, OperationName, OperationOutput, Picture, Settings, Vm, VmConfig } from '../../core/contract/index.ts';

const types: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
export const SCRIPT_TOKEN = 'script';
/** A VM with this kernel does not start. */
export const NO_KERNEL = '/nowhere/vmlinuz';

export interface ScriptedVm {
  readonly config: Partial<VmConfig> & { readonly name: string };
  readonly state: Vm['state'];
  readonly exit?: Vm['exit'];
  /** What COM1 has shown. */
  readonly screen?: string;
  /** What its display shows. */
  readonly picture?: Picture;
}

export interface ScriptedEngine {
  readonly url: string;
  /** Bytes that the page typed into any console. */
  typed(): string;
  /** Keys, pointers and sizes that the page sent to any display. */
  displayInputs(): readonly DisplayInput[];
  /** Drops every connection and refuses new ones until `listen` is called. */
  vanish(): Promise<void>;
  listen(): Promise<void>;
  close(): Promise<void>;
}

const host: HostInfo = {
  platform: 'linux', hostname: 'workbench', hostCpus: 8, hostMemoryBytes: 2 * 2 ** 30, memoryMinimum: 2 ** 24, memoryMaximum: 3 * 2 ** 30, memoryDefault: 2 ** 29,
  cpusMaximum: 1, homeFolder: '/home/ada',
  keepsCode: true,
  cpuModels: [
    { name: 'x86-64-v2', description: 'Nehalem class: SSE4.2, POPCNT, CMPXCHG16B', isDefault: true },
    { name: 'x86-64', description: 'The first 64-bit processors: SSE2', isDefault: false },
  ],
};

export async function startScriptedEngine(folder: string, script: readonly ScriptedVm[]): Promise<ScriptedEngine> {
  let vms = script.map((one, index) => scriptedVm(one, index));
  const screens = new Map(vms.map((vm, index) => [vm.id, script[index]?.screen ?? '']));
  let settings: Settings = settingsDefaults;
  const pictures = new Map(vms.map((vm, index) => [vm.id, script[index]?.picture]));
  const displayInputs: DisplayInput[] = [];
  let typed = '';
  const sockets = new Map<WebSocket, Map<number, ClientMessage & { readonly type: 'subscribe' }>>();

  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url ?? '/', 'http://script').pathname);
    const file = join(folder, path === '/' ? 'index.html' : path);
    if (!existsSync(file)) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' });
    createReadStream(file).pipe(response);
  });
  const webSockets = new WebSocketServer({ server, path: '/contract' });

  const publish = (stream: string, event: unknown, vm?: string): void => {
    for (const [socket, subscriptions] of sockets) {
      for (const [id, { stream: own, input }] of subscriptions) {
        if (own !== stream || (vm !== undefined && (input as { vm?: string }).vm !== vm)) continue;
        socket.send(encodeText({ type: 'event', id, event }));
      }
    }
  };
  const change = (id: string, part: Partial<Vm>): Vm => {
    vms = vms.map((vm) => (vm.id === id ? { ...vm, ...part } : vm));
    const vm = vms.find((one) => one.id === id);
    if (!vm) throw new ContractError('not-found', 'There is no such VM.', 'It may have been deleted.');
    publish('library', { kind: 'vm-changed', vm });
    return vm;
  };
  /** Imports and exports under way, by file: each goes on until it is cancelled. */
  const transfers = new Map<string, (error: ContractError) => void>();
  const transfer = (path: string): Promise<never> => new Promise((_resolve, reject) => {
    transfers.set(path, reject);
    publish('library', { kind: 'transfer-progress', path, done: 420, total: 1000 });
  });
  const answers: { readonly [N in OperationName]?: (input: OperationInput<N>) => OperationOutput<N> | Promise<OperationOutput<N>> } = {
    'snapshot.import': ({ path }) => transfer(path),
    'snapshot.export': ({ path }) => transfer(path),
    'transfer.cancel': ({ path }) => {
      transfers.get(path)?.(new ContractError('cancelled', 'It was cancelled.', ''));
      publish('library', { kind: 'transfer-progress', path, done: 0, total: 0 });
      return {};
    },
    'snapshot.list': ({ vm }) => [{
      id: vm, vmId: vm, parentId: null, name: 'clean', notes: '', createdAt: 1_760_000_000_000, power: 'off', memoryBytes: 2 ** 29, usedBytes: 0, exclusiveBytes: 0, pauseMilliseconds: 0,
      screen: '', hasPicture: false, current: true,
    }],
    'host.info': () => host,
    'disk.describe': () => ({ description: 'raw, 20G, 1G on this host' }),
    'settings.set': ({ changes }) => {
      settings = settingsSchema.parse({ ...settings, ...changes });
      publish('library', { kind: 'settings-changed', settings });
      return settings;
    },
    'vm.start': ({ vm }) => {
      const { boot } = vms.find((one) => one.id === vm)?.config ?? vmDefaults;
      if (boot.kind === 'image' && boot.kernel === NO_KERNEL) throw new ContractError('bad-image', `The kernel "${NO_KERNEL}" cannot be read: there is no such file.`, 'Check the path and its permissions.', 'boot.kernel');
      return change(vm, { state: 'running', startedAt: Date.now(), processId: 4242 });
    },
    'vm.move': ({ vm, position }) => {
      const moved = vms.find((one) => one.id === vm);
      const others = vms.filter((one) => one !== moved);
      if (moved) others.splice(position, 0, moved);
      for (const [index, one] of others.entries()) change(one.id, { position: index });
      return vms;
    },
    'vm.pause': ({ vm }) => change(vm, { state: 'paused' }),
    'vm.resume': ({ vm }) => change(vm, { state: 'running' }),
    'vm.stop': ({ vm }) => change(vm, { state: 'stopped', startedAt: null, processId: null }),
    'vm.edit': ({ vm, changes }) => change(vm, { config: withChanges(vms.find((one) => one.id === vm)?.config ?? { ...vmDefaults, name: '' }, vmChanges.parse(changes)) }),
    'vm.create': ({ config }) => {
      const vm = scriptedVm({ config: withChanges({ ...vmDefaults, name: config.name }, vmChanges.parse(config)), state: 'stopped' }, vms.length);
      vms = [...vms, vm];
      publish('library', { kind: 'vm-changed', vm });
      return vm;
    },
    'vm.remove': ({ vm }) => {
      vms = vms.filter((one) => one.id !== vm);
      publish('library', { kind: 'vm-removed', id: vm });
      return {};
    },
    'console.write': ({ vm, data }) => {
      typed += new TextDecoder().decode(data);
      publish('console', { kind: 'data', data }, vm);
      return { taken: data.length };
    },
    'display.input': ({ input }) => {
      displayInputs.push(input);
      return {};
    },
    'console.clear': ({ vm }) => {
      screens.set(vm, '');
      return {};
    },
    'boot.check': ({ boot }) => {
      const kernel = boot.kind === 'image' ? boot.kernel : '';
      if (!kernel.includes('vmlinuz')) throw new ContractError('bad-image', `${kernel} is neither a bzImage nor a multiboot image.`, 'Choose a kernel such as /boot/vmlinuz.', 'boot.kernel');
      return { description: 'Linux bzImage 6.1.0-28-cloud-amd64, 64-bit entry, 11.2 MiB' };
    },
    'events.list': () => [
      { id: 2, at: Date.now() - 60_000, vmId: null, vmName: null, kind: 'started', detail: '' },
      { id: 1, at: Date.now() - 65_000, vmId: null, vmName: null, kind: 'created', detail: '512M, 1 processor' },
    ],
    'host.folder': ({ path }) => ({
      path: path ?? '/home/ada', parent: '/home',
      entries: [
        { name: 'kernels', path: '/home/ada/kernels', kind: 'folder', size: 0 },
        { name: 'vmlinuz-6.1.0-28-cloud-amd64', path: '/home/ada/vmlinuz-6.1.0-28-cloud-amd64', kind: 'file', size: 11_744_051 },
        { name: 'initrd.img', path: '/home/ada/initrd.img', kind: 'file', size: 31_457_280 },
      ],
    }),
  };

  webSockets.on('connection', (socket, request) => {
    if (!request.url?.includes(`token=${SCRIPT_TOKEN}`)) return socket.close();
    const subscriptions = new Map<number, ClientMessage & { readonly type: 'subscribe' }>();
    sockets.set(socket, subscriptions);
    socket.on('close', () => sockets.delete(socket));
    socket.on('message', async (data) => {
      const message = parseClientMessage(decodeText(String(data)));
      const reply = (body: object): void => socket.send(encodeText(body));
      if (message.type === 'subscribe') {
        subscriptions.set(message.id, message);
        const { vm } = message.input as { vm?: string };
        if (message.stream === 'library') reply({ type: 'event', id: message.id, event: { kind: 'all', vms, settings } });
        if (message.stream === 'console' && vm !== undefined) {
          const state = vms.find((one) => one.id === vm)?.state ?? 'stopped';
          reply({ type: 'event', id: message.id, event: { kind: 'replay', data: new TextEncoder().encode(screens.get(vm) ?? ''), truncated: false, state } });
        }
        const picture = message.stream === 'display' && vm !== undefined ? pictures.get(vm) : undefined;
        if (picture) reply({ type: 'event', id: message.id, event: { kind: 'picture', picture } });
        if (message.stream === 'metrics') for (let ago = 60; ago > 0; ago--) reply({ type: 'event', id: message.id, event: sampleAt(60 - ago) });
      } else if (message.type === 'unsubscribe') subscriptions.delete(message.id);
      else if (message.type === 'request') {
        try {
          const answer = answers[message.operation as OperationName];
          if (!answer) throw new ContractError('unknown-operation', `The script has no ${message.operation}.`, 'Add it to the script.');
          const output = parseWith(operations[message.operation as OperationName].output, await answer(message.input as never));
          reply({ type: 'answer', id: message.id, output });
        } catch (thrown) {
          reply({ type: 'refusal', id: message.id, error: asContractError(thrown).toShape() });
        }
      }
    });
  });

  let port = 0;
  const listen = (): Promise<void> => new Promise((resolve) => server.listen(port, '127.0.0.1', () => {
    port = (server.address() as AddressInfo).port;
    resolve();
  }));
  const vanish = (): Promise<void> => new Promise((resolve) => {
    for (const socket of sockets.keys()) socket.terminate();
    server.close(() => resolve());
    server.closeAllConnections();
  });
  await listen();
  return { url: `http://127.0.0.1:${port}/?token=${SCRIPT_TOKEN}`, typed: () => typed, displayInputs: () => displayInputs, vanish, listen, close: vanish };
}

function scriptedVm(script: ScriptedVm, index: number): Vm {
  const alive = script.state === 'running' || script.state === 'paused';
  return {
    id: `00000000-0000-4000-8000-${String(index + 1).padStart(12, '0')}`,
    config: { ...vmDefaults, ...script.config }, state: script.state, exit: script.exit ?? null, position: index, createdAt: 1_760_000_000_000 + index,
    startedAt: alive ? Date.now() - 3_725_000 : null, processId: alive ? 4242 : null, problem: null,
  };
}

function sampleAt(second: number): MetricsEvent {
  const wave = 0.5 + 0.35 * Math.sin(second / 4) + 0.15 * Math.sin(second * 1.7);
  return {
    at: Date.now() - (60 - second) * 1000, cpuPercent: Math.max(1, wave * 92), instructions: second * 2e8, instructionsPerSecond: wave * 312e6,
    exits: { HLT: 12_873, 'I/O instruction': 48_210, 'External interrupt': 7_341, CPUID: 96, 'EPT violation': 9_120, WRMSR: 3_002 },
    exitsPerSecond: 900 + wave * 2200, residentBytes: (180 + second * 0.4) * 2 ** 20, engine: {},
  };
}
