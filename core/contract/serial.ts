/** Where the bytes of a serial port go besides its console. */
import * as z from 'zod';
import { filePath } from './hardware.ts';

const tcpPort = z.int('a port is a number from 1 to 65535').min(1, 'a port is a number from 1 to 65535').max(65535, 'a port is a number from 1 to 65535');

/** While the VM runs; with TCP on 127.0.0.1 only, since whoever reaches the port types into the guest. */
export const serialLine = z.discriminatedUnion('kind', [
  /** Programs connect to this port. */
  z.strictObject({ kind: z.literal('tcp-server'), port: tcpPort }),
  /** Connects to this port, again and again while nobody listens there. */
  z.strictObject({ kind: z.literal('tcp-client'), port: tcpPort }),
  /** A pseudoterminal with a link to it at this path. */
  z.strictObject({ kind: z.literal('pty'), path: filePath }),
  /** What the guest sends goes behind what is in this file. */
  z.strictObject({ kind: z.literal('file'), path: filePath }),
]);
export type SerialLine = z.infer<typeof serialLine>;
export type SerialLineKind = SerialLine['kind'];
export const serialLineKinds: readonly SerialLineKind[] = ['tcp-server', 'tcp-client', 'pty', 'file'];

/** As people write it: `tcp-server:4000`, `pty:/home/me/com2`. */
export function serialLineText(line: SerialLine): string {
  return `${line.kind}:${'port' in line ? line.port : line.path}`;
}
