/** The page's own scheme, `vanderpool://app/`: serves dist/renderer and nothing else, with the headers that keep the page to itself. */
import { readFile, realpath } from 'node:fs/promises';
import { extname, join, sep } from 'node:path';

export const SCHEME = 'vanderpool';
export const PAGE_ORIGIN = `${SCHEME}://app`;
export const PAGE_ADDRESS = `${PAGE_ORIGIN}/index.html`;

/** Privileges of the scheme: a secure context with an origin of its own, fetchable, and nothing more. */
export const schemePrivileges = {
  scheme: SCHEME,
  privileges: { standard: true, secure: true, supportFetchAPI: true, stream: true, codeCache: true },
} as const;

/** Content security policy: own scripts only; styles may stand in elements because the terminal measures and positions with them. */
export const contentSecurityPolicy = [
  "default-src 'none'", "script-src 'self'", "style-src 'self' 'unsafe-inline'", "img-src 'self'", "font-src 'self'", "connect-src 'self'",
  "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "frame-src 'none'", "object-src 'none'", "worker-src 'none'",
].join('; ');

export const pageHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': contentSecurityPolicy,
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

const contentTypes: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml', '.woff2': 'font/woff2',
};

/** Answers requests of the scheme from a folder. Whatever lies outside it, is no file or has an unknown type, is not found. */
export function createSchemeHandler(folder: string): (request: { readonly url: string; readonly method: string }) => Promise<Response> {
  return async ({ url, method }) => {
    const notFound = (): Response => new Response('Not found', { status: 404, headers: { ...pageHeaders, 'content-type': 'text/plain' } });
    if (method !== 'GET') return notFound();
    try {
      const address = new URL(url);
      if (address.protocol !== `${SCHEME}:` || address.host !== 'app') return notFound();
      const type = contentTypes[extname(address.pathname)];
      const file = join(folder, decodeURIComponent(address.pathname));
      if (type === undefined || !(await isInside(file, folder))) return notFound();
      return new Response(await readFile(file), { headers: { ...pageHeaders, 'content-type': type } });
    } catch {
      return notFound();
    }
  };
}

/** Follows links first, so that none leads out. */
async function isInside(file: string, folder: string): Promise<boolean> {
  return (await realpath(file)).startsWith((await realpath(folder)) + sep);
}
