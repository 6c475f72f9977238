/** The grammar of `vanderpool disk`; its code is loaded when it runs. */
import type { Command } from 'commander';

const examples = `
Examples:
  vanderpool disk create disk.qcow2 20G
  vanderpool disk create copy.qcow2 --backing disk.qcow2 --backing-format qcow2
  vanderpool disk convert disk.img disk.qcow2 --compress
  vanderpool disk convert machine.vmdk disk.qcow2
  vanderpool disk check disk.qcow2 --repair all
  vanderpool disk resize disk.qcow2 40G`;

export function addDiskCommands(program: Command, done: (status: number) => void): void {
  const disk = program.command('disk').description('disk images: raw and qcow2; VMDK and VDI are converted').addHelpText('after', examples);
  const formatted = (command: Command): Command => command
    .option('--format <format>', 'raw or qcow2 (default: raw where the name ends in .img, .raw or .iso, else qcow2)')
    .option('--cluster-size <size>', 'size of a cluster, 512 to 2M (default: 64K)')
    .option('--compat <version>', '1.1 (default), or 0.10 for very old programs')
    .option('--compression <method>', 'zlib (default) or zstd');
  formatted(disk.command('create <file> [size]').description('make an empty image'))
    .option('--backing <file>', 'image beside it that shows through where nothing was written')
    .option('--backing-format <format>', 'raw or qcow2')
    .option('--lazy-refcounts', 'mark the image as one whose counts may be mended late')
    .action(async (file: string, size: string | undefined, options: object) => {
      const { createImage, guarded } = await import('./disk.ts');
      await guarded(createImage(file, size, options));
    });
  disk.command('info <file>').description('what an image is').option('--json', 'print JSON').action(async (file: string, options: object) => {
    const { describeImage, guarded } = await import('./disk.ts');
    await guarded(describeImage(file, options));
  });
  disk.command('check <file>').description('compare the counts of a qcow2 image with what it uses').option('--json', 'print JSON')
    .option('--repair <what>', 'leaks: give lost room back; all: mend everything that can be')
    .action(async (file: string, options: object) => {
      const { checkImage, guarded } = await import('./disk.ts');
      done(await guarded(checkImage(file, options)));
    });
  disk.command('resize <file> <size>').description('make a disk larger').action(async (file: string, size: string) => {
    const { resizeImage, guarded } = await import('./disk.ts');
    await guarded(resizeImage(file, size));
  });
  formatted(disk.command('convert <source> <target>').description('copy a disk into a new image'))
    .option('--from <format>', 'raw, qcow2, vmdk or vdi (default: recognised)')
    .option('--compress', 'compress the clusters of a qcow2 image')
    .action(async (source: string, target: string, options: object) => {
      const { convertImage, guarded } = await import('./disk.ts');
      await guarded(convertImage(source, target, options));
    });
}
