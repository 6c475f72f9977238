/** The window's one connection to the engine: over the shell's port in Electron, over a WebSocket in a browser. */
import { createConnection } from './connection.ts';
import { openPort, shell } from './shell.ts';
import { openWebSocket } from './websocket.ts';

export const engine = createConnection(shell ? openPort : openWebSocket);
