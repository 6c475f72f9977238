/** Writes that find no room on the host: they wait, and what was given up does not happen later. */
import { describe, expect, it } from 'vitest';
import { BlockError } from '../../../core/block/blockDevice.ts';
import type { BlockDevice, BlockFailure } from '../../../core/block/blockDevice.ts';
import { DiskClient, DiskServer, createDiskBuffer } from '../../../core/block/link.ts';
import type { DiskOperation } from '../../../core/block/link.ts';
import { Room } from '../../../core/block/room.ts';

const SIZE = 4096;

/** A disk in memory, which has room or has none, behind the two threads' link. */
function disk(listens = true) {
  const heard: string[] = [];
  const done: (BlockFailure | null)[] = [];
  const state = { room: false, writes: 0, tries: 0 };
  const device: BlockDevice = {
    size: SIZE, readOnly: false,
    read: async () => undefined,
    write: async () => {
      state.tries += 1;
      if (!state.room) throw new BlockError('full', 'there is no space');
      state.writes += 1;
    },
    flush: async () => undefined, discard: async () => undefined, zero: async () => undefined, close: async () => undefined,
    switchLayer: async () => void heard.push('switched'),
  };
  const room = new Room();
  if (listens) room.listen({ full: (message) => void heard.push(message), room: () => void heard.push('room') });
  const buffer = createDiskBuffer();
  const server = new DiskServer(buffer, device, () => undefined, room);
  const client = new DiskClient(buffer, { size: SIZE, readOnly: false }, false);
  const submit = (operation: DiskOperation): void => client.submit({ operation, offset: 0, length: SIZE, transfer: () => undefined, done: (failure) => void done.push(failure) });
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      client.poll();
    }
  };
  return { heard, done, state, room, server, client, submit, until };
}

describe('a write that finds no room', () => {
  it('waits until there is some; all of them together are told of once', async () => {
    const { heard, done, state, room, submit, until, server } = disk();
    submit('write');
    submit('write');
    await until(() => state.tries === 2);
    expect([heard, done]).toEqual([['there is no space'], []]);
    state.room = true;
    room.again();
    await until(() => done.length === 2);
    expect([heard, done]).toEqual([['there is no space', 'room'], [null, null]]);
    await server.stop();
  });

  it('does not happen any more when it was given up: not after the disk went over to another content', async () => {
    const { heard, done, state, room, client, submit, until, server } = disk();
    submit('write');
    await until(() => state.tries === 1);
    client.abandon();
    client.switchLayer();
    await until(() => heard.includes('switched'));
    state.room = true;
    room.again();
    await until(() => heard.includes('room'));
    expect([state.writes, done]).toEqual([0, []]);
    await server.stop();
  });

  it('is given up when the disk is closed, and fails where nobody would make room', async () => {
    const waiting = disk();
    waiting.submit('write');
    await waiting.until(() => waiting.state.tries === 1);
    await waiting.server.stop();
    expect(waiting.state.writes).toBe(0);
    const failing = disk(false);
    failing.submit('write');
    await failing.until(() => failing.done.length === 1);
    expect(failing.done).toEqual(['full']);
    await failing.server.stop();
  });
});
