/** What the Electron shell lends to the page; absent in a browser. */
import { asContractError, ContractError, errorShape, SHELL_PORT_MESSAGE } from '../../core/contract/index.ts';
import type { Shell, Transport } from '../../core/contract/index.ts';

declare global {
  interface Window {
    /** Set by the shell's preload script. */
    readonly vanderpool?: Shell;
  }
}

export const shell: Shell | undefined = globalThis.window?.vanderpool;

const PORT_WAIT = 15_000;

/** Opens a port to the engine. @throws ContractError why the shell gives none, or `engine-unreachable` when it does not answer */
export async function openPort(): Promise<Transport> {
  const given = Promise.withResolvers<Transport>();
  const timer = setTimeout(() => given.reject(new ContractError('engine-unreachable', 'The engine did not start.', 'Quit Vanderpool and open it again; its log says more.')), PORT_WAIT);
  const receive = (event: MessageEvent): void => {
    const port = event.ports[0];
    if (event.source === window && event.data === SHELL_PORT_MESSAGE && port) given.resolve(portTransport(port));
  };
  window.addEventListener('message', receive);
  shell?.connect().then((refusal) => {
    const { success, data } = errorShape.safeParse(refusal);
    if (success) given.reject(ContractError.fromShape(data));
  }, (error: unknown) => given.reject(asContractError(error)));
  try {
    return await given.promise;
  } finally {
    clearTimeout(timer);
    window.removeEventListener('message', receive);
  }
}

/** Carries the contract's messages over a message port, byte arrays and all. */
export function portTransport(port: MessagePort): Transport {
  const queue: unknown[] = [];
  let deliver: ((message: unknown) => void) | null = null;
  port.onmessage = (event) => (deliver ? deliver(event.data) : queue.push(event.data));
  const closeListeners: (() => void)[] = [];
  let closed = false;
  const end = (): void => {
    if (closed) return;
    closed = true;
    for (const listener of closeListeners) listener();
  };
  port.addEventListener('close', end);
  return {
    send: (message) => {
      if (!closed) port.postMessage(message);
    },
    onMessage: (listener) => {
      deliver = listener;
      for (const message of queue.splice(0)) listener(message);
    },
    onClose: (listener) => void closeListeners.push(listener),
    close: () => {
      port.close();
      end();
    },
  };
}
