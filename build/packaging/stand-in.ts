/**
 * A stand-in for Electron's distribution, for machines that cannot download it: the same layout, and an executable that only says what
 * it is. It carries a fuse wire, so that setting the fuses is really done and can be read back.
 */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Marks the place of the fuses in Electron's binary; after it come a version, a length, and one character a fuse. */
const fuseSentinel = 'dL7pKGdnNz796PbbjQWNKmHXBZaB9tsX';
const fuseVersion = 1;
/** As Electron ships them: run as Node, no cookie encryption, NODE_OPTIONS, --inspect, no integrity, any app, no own snapshot, file privileges. */
const shippedFuses = '10110001';

const program = `#!/bin/sh
echo 'This is a stand-in for Electron, made to check the package. It runs nothing: package on a machine that can download Electron.' >&2
exit 1
`;

/** Writes the stand-in for Linux into a folder and returns the folder. */
export function makeStandIn(folder: string): string {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'resources'), { recursive: true });
  mkdirSync(join(folder, 'locales'));
  const wire = Buffer.concat([Buffer.from(fuseSentinel), Buffer.from([fuseVersion, shippedFuses.length]), Buffer.from(shippedFuses), Buffer.from('\n')]);
  writeFileSync(join(folder, 'electron'), Buffer.concat([Buffer.from(program), Buffer.from('# '), wire]));
  chmodSync(join(folder, 'electron'), 0o755);
  writeFileSync(join(folder, 'locales/en-US.pak'), '');
  writeFileSync(join(folder, 'version'), 'stand-in');
  writeFileSync(join(folder, 'STAND-IN.txt'), 'This folder imitates the layout of an Electron distribution. It is not Electron and cannot run anything.\n');
  return folder;
}
