/** The local server: the interface's files, and the contract over a WebSocket, for browsers on this machine that know the run's token. */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { ContractError } from '../contract/errors.ts';
import type { ServerInfo } from '../contract/operations.ts';
import { decodeText, encodeText } from '../contract/wire.ts';
import type { Transport } from '../contract/wire.ts';
import { checkHost, checkOrigin, checkToken, securityHeaders } from './access.ts';
import { serveFile } from './files.ts';

const ADDRESS = '127.0.0.1';
const CONTRACT_PATH = '/contract';
/** The largest message of a client: console input and edits fit well. */
const MESSAGE_MAXIMUM = 1024 * 1024;

interface Running {
  readonly http: Server;
  readonly sockets: WebSocketServer;
  readonly token: string;
  readonly port: number;
}

export class ContractServer {
  readonly #accept: (transport: Transport) => void;
  readonly #portFile: string;
  #running: Running | null = null;

  /** @param portFile keeps the port for the next run: browsers keep what belongs to a page, such as the window's layout, by its address */
  constructor(accept: (transport: Transport) => void, portFile: string) {
    this.#accept = accept;
    this.#portFile = portFile;
  }

  status(): ServerInfo {
    if (!this.#running) return { running: false, url: null, port: null };
    const { port, token } = this.#running;
    return { running: true, url: `http://${ADDRESS}:${port}/?token=${token}`, port };
  }

  /** Starts listening; a server that listens already is kept. Port 0 is the one of the last run, or another where that is taken. @throws ContractError when the port is taken. */
  async start(port: number): Promise<ServerInfo> {
    if (this.#running && (port === 0 || port === this.#running.port)) return this.status();
    if (this.#running) await this.stop();
    const token = randomBytes(24).toString('base64url');
    const sockets = new WebSocketServer({ noServer: true, maxPayload: MESSAGE_MAXIMUM, perMessageDeflate: false });
    const http = createServer((request, response) => answer(request, response, token));
    http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => this.#upgrade(request, socket, head, sockets, token));
    await (port === 0 ? this.#listenAsBefore(http) : listen(http, port));
    this.#running = { http, sockets, token, port: (http.address() as AddressInfo).port };
    this.#rememberPort(this.#running.port);
    return this.status();
  }

  async #listenAsBefore(http: Server): Promise<void> {
    try {
      const before = Number(readFileSync(this.#portFile, 'utf8'));
      if (Number.isInteger(before) && before > 0 && before < 65536) return await listen(http, before);
    } catch {
      // It is the first run, or the port is taken: any other does.
    }
    return listen(http, 0);
  }

  #rememberPort(port: number): void {
    try {
      writeFileSync(this.#portFile, String(port), { mode: 0o600 });
    } catch {
      // The next run has another address then.
    }
  }

  async stop(): Promise<ServerInfo> {
    const running = this.#running;
    this.#running = null;
    if (running) {
      for (const socket of running.sockets.clients) socket.terminate();
      running.http.closeAllConnections();
      await new Promise((resolve) => running.http.close(resolve));
    }
    return this.status();
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, sockets: WebSocketServer, token: string): void {
    socket.on('error', () => socket.destroy());
    const url = new URL(request.url ?? '/', `http://${ADDRESS}`);
    const allowed = url.pathname === CONTRACT_PATH && checkHost(request) && checkOrigin(request) && checkToken(url, token);
    if (!allowed) {
      socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    sockets.handleUpgrade(request, socket, head, (client) => this.#accept(webSocketTransport(client)));
  }
}

function answer(request: IncomingMessage, response: ServerResponse, token: string): void {
  securityHeaders(request, response);
  const url = new URL(request.url ?? '/', `http://${ADDRESS}`);
  // The files hold no secret; a token that is given has to be the right one, so that a page can learn that its own is old.
  const allowed = checkHost(request) && (!url.searchParams.has('token') || checkToken(url, token));
  if (!allowed) return refuse(response, 403, 'This address, or its token, is not that of the running Vanderpool server.\n');
  if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(response, 405, 'Only GET is answered here.\n');
  serveFile(url.pathname, request.method === 'HEAD', response);
}

function refuse(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' }).end(text);
}

function listen(http: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    http.once('error', (error) => {
      const taken = 'code' in error && error.code === 'EADDRINUSE';
      const message = taken ? `Port ${port} is in use by another program.` : `The server cannot listen on port ${port}: ${error.message}.`;
      reject(new ContractError('bad-field', message, 'Choose another port, or 0 for a free one.', 'port'));
    });
    http.listen(port, ADDRESS, resolve);
  });
}

function webSocketTransport(socket: WebSocket): Transport {
  socket.on('error', () => socket.terminate());
  return {
    send: (message) => {
      if (socket.readyState === socket.OPEN) socket.send(encodeText(message));
    },
    onMessage: (listener) => socket.on('message', (data, isBinary) => {
      try {
        if (isBinary) throw new Error('messages are text');
        listener(decodeText((data as Buffer).toString('utf8')));
      } catch {
        socket.close(1007);
      }
    }),
    onClose: (listener) => socket.on('close', listener),
    close: () => socket.close(),
  };
}
