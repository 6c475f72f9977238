/** A server of one file for lock-step transfers: every block of 512 bytes waits for its acknowledgement, so a transfer counts round trips. @rfc 1350 */
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';

const BLOCK = 512;
const operation = { read: 1, data: 3, acknowledgement: 4 } as const;

/** @param blocks of the file; the last one is empty */
export async function serveTftp(blocks: number): Promise<Socket> {
  const server = createSocket('udp4');
  const data = Buffer.alloc(4 + BLOCK, 'v');
  server.on('message', (message, { address, port }) => {
    const asked = message.readUInt16BE(0);
    if (asked !== operation.read && asked !== operation.acknowledgement) return;
    const next = asked === operation.read ? 1 : message.readUInt16BE(2) + 1;
    if (next > blocks) return;
    data.writeUInt16BE(operation.data, 0);
    data.writeUInt16BE(next, 2);
    server.send(data.subarray(0, next === blocks ? 4 : data.length), port, address);
  });
  await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
  return server;
}
