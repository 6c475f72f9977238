/** The way back to the process that started this one: Node's channel of a forked process, or Electron's of a utility process. */

export interface ParentPort {
  /** @param sent called when the message is on its way, as far as that can be known */
  send(message: unknown, sent?: () => void): void;
  onMessage(listener: (message: unknown) => void): void;
  /** The other process is gone. */
  onClose(listener: () => void): void;
  /** Lets this process end although the channel is open. */
  close(): void;
}

/** What Electron adds to `process` in a utility process. */
interface UtilityPort {
  postMessage(message: unknown): void;
  on(event: 'message', listener: (event: { readonly data: unknown }) => void): void;
  on(event: 'close', listener: () => void): void;
}

/** The parent's port, or null when this process was started by itself. */
export function openParentPort(): ParentPort | null {
  const utility = (process as unknown as { readonly parentPort?: UtilityPort }).parentPort;
  if (utility) {
    return {
      send: (message) => utility.postMessage(message),
      onMessage: (listener) => utility.on('message', (event) => listener(event.data)),
      onClose: (listener) => utility.on('close', listener),
      close: () => undefined,
    };
  }
  if (!process.send) return null;
  return {
    // A message to a process that has just died is lost, and that is all.
    send: (message, sent) => void (process.connected && process.send?.(message, undefined, undefined, () => sent?.())),
    onMessage: (listener) => process.on('message', listener),
    onClose: (listener) => process.on('disconnect', listener),
    close: () => {
      if (process.connected) process.disconnect?.();
    },
  };
}
