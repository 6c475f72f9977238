/** Sends typed and pasted text to a serial port in order, in pieces, as fast as the guest takes it and no faster. */

type Bytes = Uint8Array<ArrayBuffer>;

export interface InputQueueOptions {
  /** Offers bytes to the port; answers how many were taken. */
  readonly offer: (bytes: Bytes) => Promise<number>;
  /** The port refused: what was still queued is dropped. */
  readonly refused: (thrown: unknown) => void;
  /** Longest piece of one offer. */
  readonly pieceBytes: number;
  /** Pause before bytes that were not taken are offered again, in milliseconds. */
  readonly retryMs: number;
}

export interface InputQueue {
  push(bytes: Bytes): void;
  /** Bytes that wait. */
  readonly waiting: number;
  clear(): void;
}

export function createInputQueue({ offer, refused, pieceBytes, retryMs }: InputQueueOptions): InputQueue {
  let chunks: Bytes[] = [];
  let sending = false;

  const pump = async (): Promise<void> => {
    if (sending) return;
    sending = true;
    try {
      for (let piece = takePiece(chunks, pieceBytes); piece; piece = takePiece(chunks, pieceBytes)) {
        const taken = await offer(piece);
        if (taken >= piece.length) continue;
        chunks.unshift(piece.subarray(taken));
        await new Promise((resolve) => setTimeout(resolve, retryMs));
      }
    } catch (thrown) {
      chunks = [];
      refused(thrown);
    } finally {
      sending = false;
    }
  };

  return {
    push(bytes) {
      if (bytes.length === 0) return;
      chunks.push(bytes);
      void pump();
    },
    get waiting() {
      return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    },
    clear: () => void (chunks = []),
  };
}

/** Removes up to `limit` bytes from the front, joining small chunks so that fast typing needs few messages. */
function takePiece(chunks: Bytes[], limit: number): Bytes | null {
  if (chunks.length === 0) return null;
  const parts: Bytes[] = [];
  let length = 0;
  while (length < limit) {
    const chunk = chunks.shift();
    if (!chunk) break;
    const part = chunk.subarray(0, limit - length);
    if (part.length < chunk.length) chunks.unshift(chunk.subarray(part.length));
    parts.push(part);
    length += part.length;
  }
  const piece = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    piece.set(part, at);
    at += part.length;
  }
  return piece;
}
