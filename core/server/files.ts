/** The interface's built files. Only what the build put there is served: paths are looked up in its list, never joined. */
import { createReadStream, existsSync, readdirSync, statSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { extname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml',
  '.png': 'image/png', '.woff2': 'font/woff2', '.json': 'application/json', '.wasm': 'application/wasm', '.map': 'application/json', '.ico': 'image/x-icon',
};

const folder = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '../../dist/renderer' : './renderer', import.meta.url));

const missing = `<!doctype html><meta charset="utf-8"><title>Vanderpool</title>
<p>The interface is not built. Run <code>npm run build</code> and reload this page.</p>\n`;

/** Answers with one file of the interface; `/` is its page. */
export function serveFile(path: string, headOnly: boolean, response: ServerResponse): void {
  const file = listFiles().get(path === '/' ? '/index.html' : path);
  if (file === undefined) {
    const page = path === '/' ? missing : 'There is no such file.\n';
    response.writeHead(path === '/' ? 503 : 404, { 'Content-Type': path === '/' ? 'text/html; charset=utf-8' : 'text/plain; charset=utf-8' }).end(page);
    return;
  }
  // Names of built files carry their content's hash; the page itself does not.
  const cache = path.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache';
  response.writeHead(200, { 'Content-Type': types[extname(file)] ?? 'application/octet-stream', 'Content-Length': statSync(file).size, 'Cache-Control': cache });
  if (headOnly) response.end();
  else createReadStream(file).on('error', () => response.destroy()).pipe(response);
}

function listFiles(): ReadonlyMap<string, string> {
  if (!existsSync(folder)) return new Map();
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(files.map((file) => [`/${relative(folder, file).split(sep).join('/')}`, file]));
}
