/** The engine's way to VM processes under Electron: the main process starts them, and passes messages on. */
import type { VmProcess, VmProcessLauncher } from '../core/engine/vm-process.ts';
import type { ParentPort } from '../core/machine/parent.ts';
import { engineOrder } from './engine-messages.ts';
import type { EngineNews, EngineOrder } from './engine-messages.ts';

interface Held {
  processId: number | null;
  readonly messages: ((message: unknown) => void)[];
  readonly exits: ((how: string) => void)[];
}

/** One launcher a utility process: it listens on the parent's port for all VMs together. */
export function createVmLauncher(parent: ParentPort): VmProcessLauncher {
  const held = new Map<number, Held>();
  let lastId = 0;
  const send = (news: EngineNews): void => parent.send(news);
  parent.onMessage((raw) => {
    const parsed = engineOrder.safeParse(raw);
    if (parsed.success) obey(held, parsed.data);
  });
  return (logFile) => {
    const id = ++lastId;
    const vm: Held = { processId: null, messages: [], exits: [] };
    held.set(id, vm);
    send({ type: 'launch', id, logFile });
    return {
      get processId() {
        return vm.processId;
      },
      send: (message) => {
        if (held.has(id)) send({ type: 'to-vm', id, message });
      },
      onMessage: (listener) => void vm.messages.push(listener),
      onExit: (listener) => void vm.exits.push(listener),
      kill: () => {
        if (held.has(id)) send({ type: 'kill', id });
      },
    } satisfies VmProcess;
  };
}

function obey(held: Map<number, Held>, order: EngineOrder): void {
  const vm = held.get(order.id);
  if (!vm) return;
  if (order.type === 'started') vm.processId = order.processId;
  else if (order.type === 'from-vm') for (const listener of vm.messages) listener(order.message);
  else {
    held.delete(order.id);
    for (const listener of vm.exits) listener(order.how);
  }
}
