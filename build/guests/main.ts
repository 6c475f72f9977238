/** `npm run guests [-- NAME...]`: fetches Debian guests into the cache and builds their initramfs. */

import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GuestError } from './apt.ts';
import { ProgressBar } from './progress.ts';
import { fetchGuest, guestsFolder, present } from './fetch.ts';
import { guestRows } from './rows.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');

function usage(): string {
  const rows = guestRows.map(({ name, title, fetchedByDefault }) => `  ${name.padEnd(12)}${title}${fetchedByDefault ? ' (fetched when none is named)' : ''}`);
  return ['Usage: npm run guests [-- NAME...]', '', 'Fetches guests from Debian packages into .cache/guests:', ...rows].join('\n');
}

async function main(names: readonly string[]): Promise<number> {
  if (names.includes('--help') || names.includes('-h')) {
    console.log(usage());
    return 0;
  }
  const unknown = names.filter(name => !guestRows.some(row => row.name === name));
  if (unknown.length > 0) {
    console.error(`No guest is called ${unknown.join(', ')}.\n\n${usage()}`);
    return 1;
  }
  const rows = guestRows.filter(({ name, fetchedByDefault }) => (names.length === 0 ? fetchedByDefault : names.includes(name)));
  for (const row of rows) {
    try {
      await fetchGuest(root, row, new ProgressBar(process.stderr));
    } catch (error) {
      if (!(error instanceof GuestError)) throw error;
      console.error(`\n${row.name}: ${error.message}`);
      return 1;
    }
    const files = present(root, row.name);
    if (files.length === 0) console.log(`${row.name}: ${join(guestsFolder, row.name)}`);
    for (const { path, bytes } of files) console.log(`${row.name}: ${relative(root, path)} (${(bytes / 2 ** 20).toFixed(1)} MB)`);
  }
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
