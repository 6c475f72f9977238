/** `npm run lint`: oxlint, then who may import whom, circular imports and default exports. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { checkImports } from './imports.ts';
import { root } from './parts.mjs';

const oxlint = spawnSync(process.execPath, [join(root, 'node_modules/oxlint/bin/oxlint'), '--deny-warnings', 'core', 'electron', 'renderer', 'test', 'build'], {
  cwd: root, stdio: 'inherit',
});
const problems = checkImports(root);
for (const problem of problems) console.error(problem);
if (problems.length > 0) console.error(`${problems.length} import problem${problems.length === 1 ? '' : 's'}.`);
process.exit(oxlint.status !== 0 || problems.length > 0 ? 1 : 0);
