import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { frame, FrameReader, PACKET_BYTES } from '../../../core/gdb/frames.ts';
import type { GdbInput } from '../../../core/gdb/frames.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const said = (inputs: readonly GdbInput[]): string[] => inputs.map((input) => (input.kind === 'packet' ? Buffer.from(input.data).toString('latin1') : input.kind));

describe('frames of the remote protocol', () => {
  it('carry any bytes, cut wherever the network cuts them', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 20 }), (data, piece) => {
      const reader = new FrameReader();
      const wire = frame(data);
      const inputs: GdbInput[] = [];
      for (let at = 0; at < wire.length; at += piece) inputs.push(...reader.read(wire.subarray(at, at + piece)));
      expect(inputs).toEqual([{ kind: 'packet', data: Uint8Array.from(data) }]);
    }));
  });

  it('have the checksum of what is between $ and #', () => {
    expect(Buffer.from(frame(bytes('OK'))).toString()).toBe('$OK#9a');
    expect(said(new FrameReader().read(bytes('$OK#9a+$g#67-\x03')))).toEqual(['OK', 'acknowledged', 'g', 'resend', 'interrupt']);
  });

  it('with a wrong checksum are damaged', () => {
    expect(said(new FrameReader().read(bytes('$OK#9b$OK#zz')))).toEqual(['damaged', 'damaged']);
  });

  it('end the connection when they are too long, or when what arrives is no frame', () => {
    expect(said(new FrameReader().read(bytes('GET / HTTP/1.1\r\n')))).toEqual(['broken']);
    expect(said(new FrameReader().read(bytes(`$${'a'.repeat(PACKET_BYTES + 1)}`)))).toEqual(['broken']);
  });

  it('of any bytes never throw', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (data) => void new FrameReader().read(data)));
  });
});
