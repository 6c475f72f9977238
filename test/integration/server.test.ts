import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { createClient, decodeText, encodeText } from '../../core/contract/index.ts';
import type { Transport } from '../../core/contract/index.ts';
import { startTestEngine } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';

let test: TestEngine;
let port = 0;
let token = '';
beforeEach(async () => {
  test = await startTestEngine();
  const info = await test.client.call('server.start', { port: 0 });
  const url = new URL(info.url ?? '');
  port = Number(url.port);
  token = url.searchParams.get('token') ?? '';
});
afterEach(() => test.end());

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

function get(path: string, headers: Readonly<Record<string, string>> = {}, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, method, headers }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => void (body += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
    });
    sent.on('error', reject).end();
  });
}

/** The status that refuses the upgrade, or 101. */
function upgrade(query: string, headers: Readonly<Record<string, string>> = {}, path = '/contract'): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}${query}`, { headers });
    socket.on('open', () => {
      resolve(101);
      socket.close();
    });
    socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0));
    socket.on('error', () => undefined);
  });
}

async function connect(): Promise<{ transport: Transport; socket: WebSocket }> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/contract?token=${token}`, { headers: { Origin: `http://127.0.0.1:${port}` } });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  const transport: Transport = {
    send: (message) => socket.send(encodeText(message)),
    onMessage: (listener) => socket.on('message', (data) => listener(decodeText((data as Buffer).toString()))),
    onClose: (listener) => socket.on('close', listener),
    close: () => socket.close(),
  };
  return { transport, socket };
}

describe('the contract over a WebSocket', () => {
  it('is the same as over the local socket', async () => {
    const { transport } = await connect();
    const client = createClient(transport);
    expect(await client.call('vm.list', {})).toEqual(await test.client.call('vm.list', {}));
    await expect(client.call('vm.get', { vm: 'none' })).rejects.toMatchObject({ code: 'not-found', field: 'vm' });
    client.close();
  });

  it.each([
    ['no token', () => upgrade('')],
    ['a wrong token', () => upgrade(`?token=${'x'.repeat(32)}`)],
    ['another page', () => upgrade(`?token=${token}`, { Origin: 'http://evil.example' })],
    ['another port of this machine', () => upgrade(`?token=${token}`, { Origin: 'http://127.0.0.1:1' })],
    ['a name that resolves to this machine', () => upgrade(`?token=${token}`, { Host: `evil.example:${port}` })],
    ['another path', () => upgrade(`?token=${token}`, {}, '/other')],
  ])('is refused to %s', async (_who, attempt) => {
    expect(await attempt()).toBe(403);
  });

  it('is open to its own page', async () => {
    expect(await upgrade(`?token=${token}`, { Origin: `http://127.0.0.1:${port}` })).toBe(101);
    expect(await upgrade(`?token=${token}`, { Origin: `http://localhost:${port}`, Host: `localhost:${port}` })).toBe(101);
  });

  it.each([['no JSON', '{'], ['no message of the contract', '{"type":"hello"}']])('hangs up on %s, and the engine lives on', async (_what, text) => {
    const { socket } = await connect();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.send(text);
    await closed;
    expect(await test.client.call('vm.list', {})).toHaveLength(1);
  });

  it('refuses operations and streams that there are not', async () => {
    const { socket } = await connect();
    const answers: unknown[] = [];
    socket.on('message', (data) => void answers.push(JSON.parse((data as Buffer).toString())));
    socket.send(JSON.stringify({ type: 'request', id: 1, operation: '__proto__', input: {} }));
    socket.send(JSON.stringify({ type: 'subscribe', id: 2, stream: 'constructor', input: {} }));
    while (answers.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(answers).toMatchObject([{ type: 'refusal', id: 1, error: { code: 'unknown-operation' } }, { type: 'end', id: 2, error: { code: 'unknown-operation' } }]);
    socket.close();
  });
});

describe('the files of the interface', () => {
  it('come with headers that let in nothing from elsewhere', async () => {
    const { headers } = await get('/');
    const policy = String(headers['content-security-policy']);
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).not.toContain('unsafe-eval');
    expect(policy.split(';').filter((rule) => rule.includes('unsafe-inline'))).toEqual([" style-src 'self' 'unsafe-inline'"]);
    expect(headers).toMatchObject({ 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp', 'x-content-type-options': 'nosniff' });
  });

  it('are refused with a wrong token, under a wrong name, and to other methods', async () => {
    expect((await get('/?token=wrong')).status).toBe(403);
    expect((await get('/', { Host: `evil.example:${port}` })).status).toBe(403);
    expect((await get('/', {}, 'POST')).status).toBe(405);
    expect((await get(`/?token=${token}`)).status).not.toBe(403);
  });

  it.each(['/../package.json', '/..%2f..%2fpackage.json', '/%2e%2e/package.json', '/assets/../../build.json'])('never lie outside their folder: %s', async (path) => {
    expect((await get(path)).status).toBe(404);
  });
});

describe('the server', () => {
  it('keeps its token while it runs and gets another one with the next start', async () => {
    expect((await test.client.call('server.start', { port: 0 })).url).toContain(token);
    expect(await test.client.call('server.stop', {})).toEqual({ running: false, url: null, port: null });
    const again = await test.client.call('server.start', { port });
    expect(again.port).toBe(port);
    expect(again.url).not.toContain(token);
  });

  it('is found at its address of the last time, unless that is taken', async () => {
    await test.client.call('server.stop', {});
    expect((await test.client.call('server.start', { port: 0 })).port).toBe(port);
    await test.client.call('server.stop', {});
    const squatter = createServer().listen(port, '127.0.0.1');
    await once(squatter, 'listening');
    expect((await test.client.call('server.start', { port: 0 })).port).not.toBe(port);
    squatter.close();
  });

  it('says when its port is taken', async () => {
    const other = await startTestEngine();
    await expect(other.client.call('server.start', { port })).rejects.toMatchObject({ code: 'bad-field', field: 'port', message: expect.stringContaining(String(port)) });
    await other.end();
  });
});
