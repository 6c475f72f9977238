/** Joins the page's port to a connection with the engine: what one says, the other hears, until either is gone. */
import type { MessagePortMain } from 'electron';
import type { Transport } from '../core/contract/index.ts';

export function bridge(port: MessagePortMain, engine: Transport): void {
  port.on('message', (event) => engine.send(event.data));
  port.on('close', () => engine.close());
  engine.onMessage((message) => port.postMessage(message));
  engine.onClose(() => port.close());
  port.start();
}
