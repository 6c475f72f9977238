/** The browser's way to the engine: a WebSocket to the server that served this page, with the run's token. */
import { ContractError, decodeText, encodeText } from '../../core/contract/index.ts';
import type { Transport } from '../../core/contract/index.ts';

const TOKEN_KEY = 'vanderpool.token';

/** Takes the token out of the address, where history and screenshots would keep it, and remembers it for this tab. */
export function takeToken(): string | null {
  const address = new URL(window.location.href);
  const given = address.searchParams.get('token');
  if (given !== null) {
    sessionStorage.setItem(TOKEN_KEY, given);
    address.searchParams.delete('token');
    window.history.replaceState(null, '', address);
  }
  return sessionStorage.getItem(TOKEN_KEY);
}

/** @throws ContractError `forbidden` without a token or with a wrong one, `engine-unreachable` when no server answers. */
export function openWebSocket(): Promise<Transport> {
  const token = takeToken();
  if (token === null) {
    return Promise.reject(new ContractError('forbidden', 'This address lacks its token.', 'Open the whole address that Vanderpool printed when it started.'));
  }
  const address = new URL('contract', window.location.href);
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  address.searchParams.set('token', token);
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(address);
    socket.addEventListener('open', () => resolve(socketTransport(socket)), { once: true });
    socket.addEventListener('error', () => void refusal(token).then(reject), { once: true });
  });
}

/** Says why a socket did not open: browsers hide the answer of a refused upgrade, so the page asks the server itself. */
async function refusal(token: string): Promise<ContractError> {
  try {
    const answer = await fetch(new URL(`?token=${encodeURIComponent(token)}`, window.location.href), { cache: 'no-store' });
    if (answer.status === 401 || answer.status === 403) {
      return new ContractError('forbidden', 'The token of this address is not that of the running engine.', 'Open the address that Vanderpool printed when it started last.');
    }
  } catch {
    // Falls through: nobody listens there.
  }
  return new ContractError('engine-unreachable', 'The engine does not answer.', 'This page tries again by itself. If the engine has ended, start it with npm start, and open the address that it prints.');
}

function socketTransport(socket: WebSocket): Transport {
  return {
    send: (message) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(encodeText(message));
    },
    onMessage: (listener) => socket.addEventListener('message', (event) => {
      if (typeof event.data === 'string') listener(decodeText(event.data));
    }),
    onClose: (listener) => socket.addEventListener('close', () => listener(), { once: true }),
    close: () => socket.close(),
  };
}
