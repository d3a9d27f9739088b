/**
 * Loops that are written out before a shader is compiled. Drivers keep an array in registers only if every index into it is a constant, so they would have to
 * unroll the loops over it; they do not where naga has guarded those against running forever, nor where the elements are matrices.
 *
 * @module
 */

const HEAD = /@unroll\((\w+), (\w+)\) \{/y;

/**
 * Writes `@unroll(i, COUNT) { body }` out: the body `COUNT` times, each `{i}` replaced by 0, 1, …. Names may contain it, as `sum_{i}`. The body is no
 * scope of its own, so that what it declares can be used after it. Loops nest.
 *
 * @param counts values of the names that stand for counts; plain numbers need none
 * @throws {TypeError} if a count is unknown or a brace is missing
 */
export function unroll(source: string, counts: Readonly<Record<string, number>>): string {
  // The last loop contains no other.
  for (let at = source.lastIndexOf("@unroll("); at >= 0; at = source.lastIndexOf("@unroll(")) {
    HEAD.lastIndex = at;
    const head = HEAD.exec(source);
    if (head === null) throw new TypeError(`Cannot read ${source.slice(at, at + 40)}`);
    const [, name, count] = head;
    const times = counts[count] ?? Number(count);
    if (!Number.isInteger(times)) throw new TypeError(`Cannot unroll: ${count} is not known`);
    const end = closingBrace(source, HEAD.lastIndex);
    const body = source.slice(HEAD.lastIndex, end);
    const written = Array.from({ length: times }, (_, i) => body.replaceAll(`{${name}}`, `${i}`)).join("");
    source = source.slice(0, at) + written + source.slice(end + 1);
  }
  return source;
}

function closingBrace(source: string, start: number): number {
  for (let i = start, depth = 1; i < source.length; i++) {
    if (source[i] === "{") depth++;
    else if (source[i] === "}" && --depth === 0) return i;
  }
  throw new TypeError(`Cannot unroll: a brace is missing after ${source.slice(start, start + 40)}`);
}
