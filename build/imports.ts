/** The import rules: a folder is a runtime, and these rows say what each may reach. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';

interface Layer {
  readonly folder: string;
  /** Folders of the project it may import from, besides itself. */
  readonly folders: readonly string[];
  /** Packages it may not import, by name or by prefix ending in `/` or `:`. */
  readonly deniedPackages: readonly string[];
  /** When present, the only packages it may import. */
  readonly allowedPackages?: readonly string[];
}

const windowPackages = ['react', 'react-dom', 'radix-ui', 'zustand', 'lucide-react', '@xterm/xterm', '@xterm/addon-', '@tanstack/'];

/** First match wins: the most particular folder stands first. */
export const layers: readonly Layer[] = [
  { folder: 'core/contract', folders: [], deniedPackages: [], allowedPackages: ['zod'] },
  // Compiled by asc: its own files, files of constants that TypeScript reads too, and the standard library of AssemblyScript only.
  { folder: 'core/cpu/assembly', folders: ['core/cpu', 'core/vmx'], deniedPackages: [], allowedPackages: [] },
  { folder: 'core', folders: ['core'], deniedPackages: ['electron', ...windowPackages] },
  { folder: 'renderer', folders: ['core/contract'], deniedPackages: ['electron', 'node:', 'ws', 'better-sqlite3', 'kysely'] },
  { folder: 'electron', folders: ['core'], deniedPackages: windowPackages },
  { folder: 'build', folders: ['core', 'test/helpers'], deniedPackages: [] },
  { folder: 'test', folders: ['core', 'electron', 'renderer', 'build'], deniedPackages: [] },
];

interface Import {
  readonly specifier: string;
  readonly line: number;
  readonly typeOnly: boolean;
}

const importPattern = /^\s*(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/gm;
/** Configuration that a tool reads, from a default export. */
const toolConfiguration = /(^|\/)(vite|vitest|playwright|electron-builder)(\.[\w-]+)?\.config\.ts$/;

/** Checks every TypeScript file below `root`; returns one line a problem. */
export function checkImports(root: string): string[] {
  const files = layers.filter(({ folder }) => !folder.includes('/')).flatMap(({ folder }) => sources(join(root, folder)));
  const problems: string[] = [];
  const graph = new Map<string, string[]>();
  for (const file of files) {
    const path = relative(root, file).split(sep).join('/');
    const text = withoutComments(readFileSync(file, 'utf8'));
    const layer = layers.find(({ folder }) => path.startsWith(`${folder}/`));
    if (!layer) continue;
    const edges: string[] = [];
    for (const found of importsOf(text)) {
      const problem = found.specifier.startsWith('.') ? checkFolder(root, path, layer, found.specifier) : checkPackage(path, layer, found.specifier);
      if (problem) problems.push(`${path}:${found.line}: ${problem}`);
      if (found.specifier.startsWith('.') && !found.typeOnly) edges.push(targetOf(path, found.specifier));
    }
    // AssemblyScript is one compilation unit of functions: its files may call one another freely.
    if (layer.folder !== 'core/cpu/assembly') graph.set(path, edges);
    const exported = /^export default\b/m.exec(text);
    if (exported && !toolConfiguration.test(path)) problems.push(`${path}:${lineAt(text, exported.index)}: default exports are not used here; name it.`);
  }
  return [...problems, ...cycles(graph).map((cycle) => `circular import: ${cycle.join(' -> ')}`)];
}

function checkFolder(root: string, path: string, layer: Layer, specifier: string): string | null {
  const target = targetOf(path, specifier);
  if (target.startsWith('../')) return `"${specifier}" lies outside the project.`;
  const assembly = layer.folder === 'core/cpu/assembly';
  if (!assembly && !/\.(ts|tsx|mjs|cjs|js|css|json|svg|png|wasm|woff2)(\?\w+)?$/.test(specifier)) return `"${specifier}" needs its file extension.`;
  if (!assembly && specifier.endsWith('.ts') && !existsSync(join(root, target))) return `"${specifier}" does not exist.`;
  const allowed = [layer.folder, ...layer.folders].some((folder) => target.startsWith(`${folder}/`)) || target === 'package.json';
  return allowed ? null : `${layer.folder}/ may not import ${target}.`;
}

function checkPackage(path: string, layer: Layer, specifier: string): string | null {
  if (toolConfiguration.test(path)) return null; // Runs in the tool, not in the folder's runtime.
  const matches = (name: string): boolean => specifier === name || specifier.startsWith(/[/:-]$/.test(name) ? name : `${name}/`);
  if (layer.allowedPackages && !layer.allowedPackages.some(matches)) return `${layer.folder}/ may not import the package "${specifier}".`;
  return layer.deniedPackages.some(matches) ? `${layer.folder}/ may not import the package "${specifier}".` : null;
}

function importsOf(text: string): Import[] {
  return [...text.matchAll(importPattern)].map((match) => ({
    specifier: match[2] ?? match[3] ?? '', line: lineAt(text, match.index + match[0].length), typeOnly: match[1] !== undefined,
  }));
}

function targetOf(path: string, specifier: string): string {
  return join(dirname(path), specifier.replace(/\?.*$/, '')).split(sep).join('/');
}

/** Every cycle once, by depth-first search. */
function cycles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) {
      found.push([...trail.slice(at), path]);
      return;
    }
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return found;
}

/** Blanks comments, keeping line numbers. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ' ')).replace(/^\s*\/\/.*$/gm, '');
}

function lineAt(text: string, index: number): number {
  return text.slice(0, index).split('\n').length;
}

function sources(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sources(path);
    return /\.tsx?$/.test(entry.name) && !entry.name.endsWith('.d.ts') ? [path] : [];
  });
}
