/** Pseudoterminals: `script` of util-linux is the other side. */
import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';

/** A pseudoterminal whose other side is the child's standard input and output. */
export async function openPair(): Promise<{ readonly child: ChildProcessWithoutNullStreams; readonly path: string }> {
  const child = spawn('script', ['-qfc', 'stty raw -echo; tty; exec sleep 100', '/dev/null']);
  let text = '';
  const path = await new Promise<string>((resolve, reject) => {
    child.on('error', reject);
    child.stdout.on('data', (data: Buffer) => {
      text += data.toString('latin1');
      const found = /^(\/dev\/\S+)\r?\n/.exec(text)?.[1];
      if (found !== undefined) resolve(found);
    });
  });
  child.stdout.removeAllListeners('data');
  return { child, path };
}
