/** What electron-builder makes of the built program, for each system. */
import type { Configuration } from 'electron-builder';

/**
 * Switches inside Electron's binary, set once and sealed by the package's signature: no use as a plain Node, no options from outside,
 * no program but the archive that was shipped.
 */
export const fuses = {
  runAsNode: false,
  enableCookieEncryption: true,
  enableNodeOptionsEnvironmentVariable: false,
  enableNodeCliInspectArguments: false,
  enableEmbeddedAsarIntegrityValidation: true,
  onlyLoadAppFromAsar: true,
  grantFileProtocolExtraPrivileges: false,
} as const;

/** Bundles need no packages at run time, except those with a native part: of these, the file for the system at hand. */
const files: readonly string[] = [
  'package.json',
  'LICENSE',
  'dist/**/*',
  '!dist/**/*.map',
  '!dist/{build.json,.lock,.cache}',
  '!dist/.cache/**/*',
  '!dist/icons/**/*',
  // Made for plain Node: the command line and the engine that it starts.
  '!dist/{cli,engine}.js',
  '!node_modules/**/*',
  'node_modules/better-sqlite3/package.json',
  'node_modules/better-sqlite3/LICENSE',
  'node_modules/better-sqlite3/lib/**/*',
  'node_modules/better-sqlite3/prebuilds/${platform}-${arch}.node',
  'node_modules/usb/{package.json,LICENSE.md,index.js,dist/index.js}',
  'node_modules/koffi/{package.json,LICENSE.txt,index.cjs}',
  'node_modules/koffi/src/koffi/**/*.cjs',
];

/** Native parts in packages of their own, one a system: they are optional, and electron-builder learns of no such package from npm where node_modules is a link. */
const nativeFiles = ['@node-usb', '@koromix'].map((scope) => ({ from: `node_modules/${scope}`, to: `node_modules/${scope}`, filter: ['**/*.{json,js,node}'] }));

/** Utility processes, their worker threads and the native module are loaded from real files. */
const asarUnpack: readonly string[] = [
  'dist/*.js', 'dist/*.wasm', 'node_modules/better-sqlite3/**/*', 'node_modules/usb/**/*', 'node_modules/@node-usb/**/*', 'node_modules/koffi/**/*', 'node_modules/@koromix/**/*',
];

export interface PackagingOptions {
  readonly output: string;
  readonly icons: string;
  /** Folder of an unpacked Electron, instead of the one that electron-builder downloads. */
  readonly electronDist?: string;
}

export function packagingConfig({ output, icons, electronDist }: PackagingOptions): Configuration {
  return {
    appId: 'org.vanderpool.Vanderpool',
    productName: 'Vanderpool',
    copyright: 'MIT License',
    directories: { output, buildResources: icons },
    files: [...files, ...nativeFiles],
    asar: true,
    asarUnpack: [...asarUnpack],
    // The native module is an N-API prebuild: the same file serves Node and Electron.
    npmRebuild: false,
    nodeGypRebuild: false,
    electronFuses: fuses,
    ...(electronDist === undefined ? {} : { electronDist }),
    publish: null,
    linux: {
      target: ['AppImage', 'deb', 'tar.gz'],
      executableName: 'vanderpool',
      category: 'System',
      synopsis: 'A virtualization workstation',
      description: 'Emulates a whole Intel PC, VT-x and VT-d included, and runs unmodified operating systems on it.',
      maintainer: 'Vanderpool contributors <vanderpool@localhost>',
      icon: `${icons}/png`,
    },
    mac: {
      target: ['dmg', 'zip'],
      category: 'public.app-category.developer-tools',
      icon: `${icons}/icon.icns`,
      hardenedRuntime: true,
      gatekeeperAssess: false,
      entitlements: 'build/packaging/entitlements.mac.plist',
      entitlementsInherit: 'build/packaging/entitlements.mac.plist',
    },
    win: { target: ['nsis', 'zip'], icon: `${icons}/icon.ico` },
    nsis: { oneClick: false, perMachine: false, allowToChangeInstallationDirectory: true, deleteAppDataOnUninstall: false },
  };
}
