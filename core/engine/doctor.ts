/** Looks through everything a library keeps, says what is damaged and what that means, and repairs what can be repaired. */
import { verifySegment } from '../snapshot/archive.ts';
import { decodeDisk } from '../store/disks.ts';
import { examineDisks } from './diskDoctor.ts';
import type { DiskStates } from './diskStates.ts';
import type { Finding } from '../contract/snapshot.ts';
import type { Library } from '../store/library.ts';
import { segmentPath } from '../snapshot/segment.ts';

export interface Examination {
  /** Also removes what is useless, and keeps new snapshots from building on damaged files. */
  readonly repair: boolean;
  readonly mayRemoveOrphans: boolean;
  readonly disks: DiskStates;
  readonly isRunning: (vmId: string) => boolean;
}

export async function examine(library: Library, { repair, mayRemoveOrphans, disks, isRunning }: Examination): Promise<Finding[]> {
  const { snapshots: store } = library;
  const findings: Finding[] = library.check().map((what) => ({ severity: 'error', what: `The database: ${what}.`, advice: 'Put a backup (library.db.backup-N) in its place.', repaired: false }));
  const damaged = new Set<number>();
  for (const { id, name } of store.segments()) {
    try {
      await verifySegment(segmentPath(store.folder, name));
    } catch (error) {
      damaged.add(id);
      if (repair) store.forgetChunks(id);
      const what = error instanceof Error ? error.message : String(error);
      findings.push({ severity: 'error', what, advice: 'Put the file back from a backup. New snapshots do not build on it once it is repaired.', repaired: repair });
    }
  }
  for (const row of store.all()) {
    const lost = lossOf(row.id, damaged, library);
    if (lost === null) continue;
    const name = row.kind === 'suspend' ? 'The suspended state' : `The snapshot "${row.name}"`;
    findings.push({ severity: 'error', what: `${name} of "${library.nameOf(row.vm_id)}" ${lost}.`, advice: 'Delete it when the files cannot be put back.', repaired: false });
  }
  findings.push(...(await examineDisks(library, disks, damaged, repair, isRunning)));
  const orphans = mayRemoveOrphans ? store.orphans() : [];
  if (orphans.length > 0) {
    if (repair) store.removeOrphans();
    findings.push({ severity: 'warning', what: `${orphans.length} files in "${store.folder}" belong to nothing.`, advice: 'They only take space.', repaired: repair });
  }
  return findings;
}

/** What of a snapshot is lost, in words; null when nothing is. */
function lossOf(id: string, damaged: ReadonlySet<number>, { snapshots: store }: Library): string | null {
  try {
    const { pageMap, disks } = store.load(id);
    const references = [pageMap, ...disks.map((disk) => decodeDisk(disk))].flatMap((map) => [...map.references()]);
    const lost = references.reduce((sum, [segment, pages]) => sum + (damaged.has(segment) ? pages : 0), 0);
    return lost === 0 ? null : `refers to ${lost} pages in damaged files: some of them are lost`;
  } catch (error) {
    return `cannot be read (${error instanceof Error ? error.message : String(error)})`;
  }
}
