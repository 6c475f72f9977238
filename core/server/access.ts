/** Who may speak to the local server: this machine's browser, from the server's own page, with the run's token. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

const LOCAL_NAMES: readonly string[] = ['127.0.0.1', 'localhost'];

/** The Host header names this machine; a name that some site resolves to 127.0.0.1 does not (DNS rebinding). */
export function checkHost(request: IncomingMessage): boolean {
  return localAuthority(request.headers.host, request.socket.localPort);
}

/** The page that opens the socket came from this very server. Programs that are no browser send no Origin; the token speaks for them. */
export function checkOrigin(request: IncomingMessage): boolean {
  const { origin } = request.headers;
  if (origin === undefined) return true;
  return origin.startsWith('http://') && localAuthority(origin.slice('http://'.length), request.socket.localPort);
}

/** Compares in constant time. */
export function checkToken(url: URL, token: string): boolean {
  const given = url.searchParams.get('token') ?? '';
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}

/** Styles may be inline because xterm writes its own; nothing else may. */
export function securityHeaders(request: IncomingMessage, response: ServerResponse): void {
  const authority = checkHost(request) ? request.headers.host : undefined;
  const policy = [
    "default-src 'none'", "script-src 'self'", "style-src 'self' 'unsafe-inline'", "font-src 'self'", "img-src 'self' data: blob:",
    `connect-src 'self'${authority === undefined ? '' : ` ws://${authority}`}`, "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
  ];
  response.setHeader('Content-Security-Policy', policy.join('; '));
  response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
  response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
  response.setHeader('Cross-Origin-Resource-Policy', 'same-origin');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.setHeader('Referrer-Policy', 'no-referrer');
  response.setHeader('Permissions-Policy', 'camera=(), microphone=(), geolocation=(), usb=(), serial=()');
}

function localAuthority(authority: string | undefined, port: number | undefined): boolean {
  return LOCAL_NAMES.some((name) => authority === `${name}:${port}`);
}
