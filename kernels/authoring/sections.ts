/**
 * Shaders with gaps, for parts that depend on a choice or that several shaders share.
 *
 * @module
 */

const GAP = /^ *@fill\((\w+)\)\n/gm;

/** The parts of a text by the name in the line `@section(name)` before each; what comes before the first is about the text. */
export function sectionsOf(text: string): Record<string, string> {
  const [, ...parts] = text.split(/^@section\((\w+)\)\n/m);
  return Object.fromEntries(parts.flatMap((name, i) => i % 2 === 0 ? [[name, parts[i + 1]]] : []));
}

/**
 * Replaces each line `@fill(name)` by the section of that name, whose own gaps are filled, too.
 *
 * @throws {TypeError} if there is no such section
 */
export function fill(source: string, sections: Readonly<Record<string, string>>): string {
  return source.replace(GAP, (_, name: string) => {
    if (sections[name] === undefined) throw new TypeError(`Nothing fills ${name}`);
    return fill(sections[name], sections);
  });
}
