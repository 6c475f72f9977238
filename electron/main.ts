/** The main process of the desktop program. */
import { fileURLToPath } from 'node:url';
import { runShell } from './shell.ts';

runShell({ folder: fileURLToPath(new URL('.', import.meta.url)), args: process.argv.slice(1) });
