import { describe, expect, it } from 'vitest';
import { loadedUdebs, readUdebs } from '../../helpers/udebs.ts';

const list = `Package: partman-base
Version: 237
Priority: standard
Depends: libparted2-udeb (>= 3.5), harddrive-detection, rdate-udeb | ntp-udeb
Filename: pool/main/p/partman-base/partman-base_237_amd64.udeb
Description: Partition the storage devices (partman)
 in several lines: Depends: nothing

Package: libparted2-udeb
Priority: optional

Package: disk-detect
Priority: optional
Provides: harddrive-detection, other
Depends: partman-base

Package: rdate-udeb
Priority: optional

Package: ntp-udeb
Priority: optional

Package: ext4-modules-1-di
Priority: standard
Kernel-Version: 1

Package: ext4-modules-2-di
Priority: standard
Kernel-Version: 2
`;

describe('what Debian\'s installer loads', () => {
  it('is what is standard, and what that depends on, also by what a package provides', () => {
    expect(loadedUdebs(readUdebs(list), '2').map(({ name }) => name)).toEqual(['partman-base', 'libparted2-udeb', 'disk-detect', 'rdate-udeb', 'ext4-modules-2-di']);
  });

  it('keeps where a package lies and how it is described', () => {
    const [base] = readUdebs(list);
    expect(base).toMatchObject({ version: '237', path: 'pool/main/p/partman-base/partman-base_237_amd64.udeb', standard: true, kernel: undefined });
    expect(base?.text).toMatch(/^Package: partman-base\n[^]*nothing$/);
  });
});
