import { describe, expect, it } from 'vitest';
import {
  createClient, decodeText, encodeText, formatTopology, MEMORY_MAXIMUM, MIB, newVm, parseMemory, parseTopology, parseWith, topologiesOf, vmChanges, vmConfig, vmDefaults, withChanges,
} from '../../core/contract/index.ts';
import type { ContractError, Transport } from '../../core/contract/index.ts';
import { refusal } from '../helpers/refusal.ts';

/** A transport whose other end is the test. */
function testTransport(): { transport: Transport; sent: unknown[]; deliver(message: unknown): void; hangUp(): void } {
  const sent: unknown[] = [];
  let onMessage: (message: unknown) => void = () => undefined;
  let onClose: () => void = () => undefined;
  const transport: Transport = {
    send: (message) => void sent.push(message),
    onMessage: (listener) => void (onMessage = listener),
    onClose: (listener) => void (onClose = listener),
    close: () => onClose(),
  };
  return { transport, sent, deliver: (message) => onMessage(message), hangUp: () => onClose() };
}

describe('guest memory sizes', () => {
  it('reads the units people write', () => {
    expect([parseMemory('512M'), parseMemory('1G'), parseMemory('64'), parseMemory('1.5g'), parseMemory('256 MiB')].map((n) => n / MIB))
      .toEqual([512, 1024, 64, 1536, 256]);
    expect(parseMemory('3G')).toBe(MEMORY_MAXIMUM);
  });

  it.each(['0', 'banana', '900G', '8M', '', '-1G', '3073M', '100.3M', '16X'])('refuses %j and names the field', (text) => {
    const error = refusal(() => parseMemory(text));
    expect(error.code).toBe('bad-field');
    expect(error.field).toBe('memoryBytes');
    expect(error.hint).not.toBe('');
  });
});

describe('the configuration of a VM', () => {
  const base = vmConfig.parse({ name: 'one', ...vmDefaults });

  it('needs only a name', () => {
    expect(parseWith(newVm, { name: '  Debian 12 ' })).toEqual({ name: 'Debian 12' });
    expect(refusal(() => parseWith(newVm, {})).field).toBe('name');
  });

  it('keeps what an edit does not mention', () => {
    expect(withChanges(base, { memoryBytes: 64 * MIB })).toEqual({ ...base, memoryBytes: 64 * MIB });
    expect(parseWith(vmChanges, {})).toEqual({});
  });

  it.each([
    [{ memoryBytes: 8 * MIB }, 'memoryBytes'],
    [{ memoryBytes: 20 * MIB + 1 }, 'memoryBytes'],
    [{ cpus: 0 }, 'cpus'],
    [{ name: '../etc' }, 'name'],
    [{ boot: { kind: 'image', kernel: '', initrd: null, append: '', modules: [] } }, 'boot.kernel'],
    [{ boot: { kind: 'image', kernel: 'a\0b', initrd: null, append: '', modules: [] } }, 'boot.kernel'],
    [{ serial: [] }, 'serial'],
  ])('refuses %j by its field', (changes, field) => {
    const error = refusal(() => parseWith(vmChanges, changes));
    expect([error.code, error.field]).toEqual(['bad-field', field]);
  });

  it('refuses a field it does not know', () => {
    expect(refusal(() => parseWith(vmChanges, { memory: 1 })).message).toContain('memory');
  });
});

describe('messages as text', () => {
  it('carry bytes unharmed', () => {
    const data = Uint8Array.from({ length: 20_000 }, (_, i) => (i * 7) & 255);
    expect(decodeText(encodeText({ a: [{ data }], b: 'x' }))).toEqual({ a: [{ data }], b: 'x' });
  });

  it('that are no JSON are refused, not thrown raw', () => {
    expect(refusal(() => decodeText('{')).code).toBe('bad-request');
  });
});

describe('a client', () => {
  it('checks inputs before they leave', async () => {
    const { transport, sent } = testTransport();
    const client = createClient(transport);
    await expect(client.call('vm.get', { vm: '' })).rejects.toMatchObject({ code: 'bad-field', field: 'vm' });
    expect(sent).toEqual([]);
  });

  it('refuses an answer that is not of the contract', async () => {
    const { transport, sent, deliver } = testTransport();
    const call = createClient(transport).call('console.write', { vm: 'a', port: 0, data: new Uint8Array(1) });
    expect(sent).toHaveLength(1);
    deliver({ type: 'answer', id: 1, output: { taken: 'all' } });
    await expect(call).rejects.toMatchObject({ code: 'bad-field', field: 'taken' });
  });

  it('gets typed errors with their hint and field', async () => {
    const { transport, deliver } = testTransport();
    const call = createClient(transport).call('vm.get', { vm: 'x' });
    deliver({ type: 'refusal', id: 1, error: { code: 'not-found', message: 'There is no VM "x".', hint: 'List them.', field: 'vm' } });
    await expect(call).rejects.toMatchObject({ code: 'not-found', hint: 'List them.', field: 'vm' });
  });

  it('handles one event at a time and acknowledges each when it is done', async () => {
    const { transport, sent, deliver } = testTransport();
    const seen: number[] = [];
    let release: () => void = () => undefined;
    createClient(transport).subscribe('console', { vm: 'a', port: 0 }, {
      event: (event) => {
        seen.push(event.kind === 'data' ? event.data.length : -1);
        return new Promise<void>((resolve) => void (release = resolve));
      },
    });
    for (const length of [1, 2]) deliver({ type: 'event', id: 1, event: { kind: 'data', data: new Uint8Array(length) } });
    await Promise.resolve();
    await Promise.resolve();
    expect(seen).toEqual([1]);
    expect(sent.filter((m) => (m as { type: string }).type === 'acknowledge')).toHaveLength(0);
    release();
    await new Promise((resolve) => setImmediate(resolve));
    expect(seen).toEqual([1, 2]);
    expect(sent.at(-1)).toEqual({ type: 'acknowledge', id: 1, count: 1 });
  });

  it('fails what waits when the connection goes, and every later call', async () => {
    const { transport, hangUp } = testTransport();
    const client = createClient(transport);
    const ends: (ContractError | null)[] = [];
    client.subscribe('library', {}, { event: () => undefined, end: (error) => void ends.push(error) });
    const call = client.call('vm.list', {});
    hangUp();
    await expect(call).rejects.toMatchObject({ code: 'engine-unreachable' });
    await expect(client.call('vm.list', {})).rejects.toMatchObject({ code: 'engine-unreachable' });
    expect(ends.map((error) => error?.code)).toEqual(['engine-unreachable']);
  });
});

describe('the arrangement of processors', () => {
  const base = vmConfig.parse({ ...vmDefaults, name: 'one' });
  it('is written and read as text, and what is left out counts one', () => {
    expect(parseTopology('cores=2,threads=2')).toEqual({ sockets: 1, cores: 2, threads: 2 });
    expect(formatTopology({ sockets: 2, cores: 1, threads: 1 })).toBe('sockets=2,cores=1,threads=1');
  });
  it.each(['cores=0', 'cores=3,threads=3', 'nodes=2', 'cores', 'cores=1.5', ''])('refuses "%s"', (text) => {
    expect(() => parseTopology(text)).toThrow(/no arrangement/);
  });
  it('must have as many processors as the machine', () => {
    expect(() => parseWith(vmConfig, { ...base, cpus: 4, topology: { sockets: 1, cores: 2, threads: 1 } })).toThrow(/not the number of processors/);
  });
  it('is given up when another number of processors no longer fits it', () => {
    const arranged = withChanges(base, { cpus: 4, topology: { sockets: 2, cores: 2, threads: 1 } });
    expect(withChanges(arranged, { cpus: 4 }).topology).not.toBeNull();
    expect(withChanges(arranged, { cpus: 2 }).topology).toBeNull();
  });
  it('has every way to divide a number', () => {
    expect(topologiesOf(4).map(formatTopology)).toHaveLength(6);
    expect(topologiesOf(1)).toEqual([{ sockets: 1, cores: 1, threads: 1 }]);
  });
});
