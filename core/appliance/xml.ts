/** Descriptors of appliances as trees of elements. Documents that declare types or entities are refused. */
import { SaxesParser } from 'saxes';

export interface Element {
  /** Without its prefix: descriptors name their namespaces as they like. */
  readonly name: string;
  /** By their names without prefixes. */
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly Element[];
  readonly text: string;
}

interface Open extends Element {
  readonly children: Element[];
  text: string;
}

const DEPTH_MAXIMUM = 64;
const ELEMENTS_MAXIMUM = 50_000;

/** The root element; null: it is no such document. */
export function parseXml(document: string): Element | null {
  const top = opened('', {});
  const open = [top];
  let elements = 0;
  const parser = new SaxesParser();
  const refuse = (): never => {
    throw new Error('no descriptor');
  };
  parser.on('error', refuse);
  parser.on('doctype', refuse);
  parser.on('opentag', ({ name, attributes }) => {
    if (++elements > ELEMENTS_MAXIMUM || open.length > DEPTH_MAXIMUM) refuse();
    const element = opened(name, attributes);
    open.at(-1)!.children.push(element);
    open.push(element);
  });
  parser.on('closetag', () => void open.pop());
  const write = (text: string): void => {
    open.at(-1)!.text += text;
  };
  parser.on('text', write);
  parser.on('cdata', write);
  try {
    parser.write(document).close();
  } catch {
    return null;
  }
  return top.children[0] ?? null;
}

function opened(name: string, attributes: Readonly<Record<string, string>>): Open {
  return { name: local(name), attributes: new Map(Object.entries(attributes).map(([key, value]) => [local(key), value])), children: [], text: '' };
}

/** The first element of a name anywhere below. */
export function find(element: Element, name: string): Element | undefined {
  return all(element, name)[0];
}

/** Every element of a name below, in their order. */
export function all(element: Element, name: string): readonly Element[] {
  return element.children.flatMap((child) => [...(child.name === name ? [child] : []), ...all(child, name)]);
}

/** The text of a child; empty where there is none. */
export function textOf(element: Element, name: string): string {
  return element.children.find((child) => child.name === name)?.text.trim() ?? '';
}

function local(name: string): string {
  return name.slice(name.lastIndexOf(':') + 1);
}
