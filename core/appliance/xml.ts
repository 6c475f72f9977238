/** As much of XML as descriptors of appliances have: elements, attributes, text. No declarations of types: nothing is expanded, and nothing fetched. */

export interface Element {
  /** Without its prefix: descriptors name their namespaces as they like. */
  readonly name: string;
  /** By their names without prefixes. */
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly Element[];
  readonly text: string;
}

interface Open {
  readonly name: string;
  readonly qualified: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: Element[];
  text: string;
}

const DEPTH_MAXIMUM = 64;
const ELEMENTS_MAXIMUM = 50_000;

const piece = /<!--[^]*?-->|<\?[^]*?\?>|<!\[CDATA\[([^]*?)\]\]>|<(\/?)([\w:.-]+)((?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>|([^<]+)/y;
const attribute = /([\w:.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g;
const entities: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

/** The root element; null: it is not such a document. */
export function parseXml(document: string): Element | null {
  const top: Open = { name: '', qualified: '', attributes: new Map(), children: [], text: '' };
  const open = [top];
  let elements = 0;
  piece.lastIndex = document.startsWith('\ufeff') ? 1 : 0;
  while (piece.lastIndex < document.length) {
    const [whole, literal, closing, qualified, attributes = '', empty, text] = piece.exec(document) ?? [];
    const current = open.at(-1);
    if (whole === undefined || !current) return null;
    if (literal !== undefined) current.text += literal;
    else if (text !== undefined) current.text += unescaped(text);
    else if (qualified === undefined) continue;
    else if (closing === '/') {
      if (current.qualified !== qualified) return null;
      finish(open);
    } else {
      if (++elements > ELEMENTS_MAXIMUM || open.length > DEPTH_MAXIMUM) return null;
      open.push({ name: local(qualified), qualified, attributes: attributesOf(attributes), children: [], text: '' });
      if (empty === '/') finish(open);
    }
  }
  return open.length === 1 && top.children.length === 1 ? top.children[0] ?? null : null;
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

function finish(open: Open[]): void {
  const done = open.pop();
  if (done) open.at(-1)?.children.push(done);
}

function attributesOf(text: string): ReadonlyMap<string, string> {
  return new Map([...text.matchAll(attribute)].map(([, name = '', double, single]) => [local(name), unescaped(double ?? single ?? '')]));
}

function local(name: string): string {
  return name.slice(name.lastIndexOf(':') + 1);
}

function unescaped(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w+));/gi, (whole, decimal?: string, hexadecimal?: string, name?: string) => {
    const code = decimal === undefined ? Number.parseInt(hexadecimal ?? '', 16) : Number(decimal);
    if (name !== undefined) return entities[name] ?? whole;
    return code <= 0x10_ffff ? String.fromCodePoint(code) : whole;
  });
}
