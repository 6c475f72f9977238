import type { Vm } from '../../core/contract/index.ts';

const TAG_PREFIX = 'tag:';

/** The query that finds the machines with a tag. */
export function tagQuery(tag: string): string {
  return `${TAG_PREFIX}${tag}`;
}

/** VMs whose name, group, tags, notes or boot files contain every word of the query, or for a word `tag:NAME` that have this very tag. */
export function searchVms(vms: readonly Vm[], query: string): readonly Vm[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return vms;
  return vms.filter((vm) => {
    const { name, group, tags, notes, boot } = vm.config;
    const files = boot.kind === 'image' ? `${boot.kernel} ${boot.initrd ?? ''}` : 'monitor';
    const text = `${name} ${group} ${tags.join(' ')} ${notes} ${files} ${vm.state}`.toLowerCase();
    return words.every((word) => (word.startsWith(TAG_PREFIX) ? tags.some((tag) => tag.toLowerCase() === word.slice(TAG_PREFIX.length)) : text.includes(word)));
  });
}

/** A name cut into pieces, those that match a word of the query marked. */
export function markMatches(name: string, query: string): readonly { readonly text: string; readonly marked: boolean }[] {
  const word = query.toLowerCase().split(/\s+/).find((candidate) => candidate !== '' && name.toLowerCase().includes(candidate));
  if (word === undefined) return [{ text: name, marked: false }];
  const at = name.toLowerCase().indexOf(word);
  return [
    { text: name.slice(0, at), marked: false },
    { text: name.slice(at, at + word.length), marked: true },
    { text: name.slice(at + word.length), marked: false },
  ].filter(({ text }) => text !== '');
}
