/**
 * A folder of the host as 9P2000.L, for one client. Requests are carried out at once, one after the other: what a file system has in its cache
 * takes microseconds. Only plain files and folders are opened, so nothing waits for a writer of a pipe.
 */
import { ShareClient } from './client.ts';
import type { ShareOptions } from './client.ts';
import { MESSAGE_BYTES, requests } from './requests.ts';
import { TreeError } from './tree.ts';
import { MessageReader, MessageWriter } from './wire.ts';

/** Numbers of errors as Linux has them: the protocol's own. */
const errors: Readonly<Record<string, number>> = {
  EPERM: 1, ENOENT: 2, EIO: 5, ENXIO: 6, EBADF: 9, EAGAIN: 11, ENOMEM: 12, EACCES: 13, EBUSY: 16, EEXIST: 17, EXDEV: 18, ENODEV: 19, ENOTDIR: 20, EISDIR: 21, EINVAL: 22,
  ENFILE: 23, EMFILE: 24, ETXTBSY: 26, EFBIG: 27, ENOSPC: 28, EROFS: 30, EMLINK: 31, ENAMETOOLONG: 36, ENOTEMPTY: 39, ELOOP: 40, EPROTO: 71, EMSGSIZE: 90, EOPNOTSUPP: 95,
  ESTALE: 116, EDQUOT: 122,
};
const UNKNOWN_ERROR = 5;

const HEADER = 7;

export class ShareServer {
  readonly client: ShareClient;

  /** @throws Error of Node when there is no such folder */
  constructor(options: ShareOptions) {
    this.client = new ShareClient(options);
  }

  /** Carries out the request of a message; `room` bounds the answer. Never throws: what cannot be done is answered with its error. */
  answer(message: Uint8Array, room: number): Uint8Array {
    const read = new MessageReader(message);
    let tag = 0xffff;
    let kind = 0;
    try {
      read.u32();
      kind = read.u8();
      tag = read.u16();
      const request = requests[kind];
      if (!request) throw new TreeError('EOPNOTSUPP');
      const write = reply(kind + 1, tag, Math.min(room, MESSAGE_BYTES));
      request(this.client, read, write);
      write.patch32(0, write.length);
      return write.bytes;
    } catch (error) {
      return failure(tag, error, room);
    }
  }
}

function reply(kind: number, tag: number, room: number): MessageWriter {
  return new MessageWriter(Math.max(room, HEADER)).u32(0).u8(kind).u16(tag);
}

function failure(tag: number, error: unknown, room: number): Uint8Array {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const write = reply(7, tag, Math.max(room, HEADER + 4)).u32(errors[code] ?? UNKNOWN_ERROR);
  write.patch32(0, write.length);
  return write.bytes;
}
