/**
 * Corrects grammars that xgrammar (0.1.27) writes for JSON schemas: where a schema bounds a string's length or gives a pattern, they let through what JSON does
 * not allow inside of strings: quotes, backslashes and control characters.
 *
 * @module
 */

/** What strings may not hold unescaped: control characters, quotes, backslashes. */
const NOT_IN_STRINGS = String.raw`\0-\x1f\"\\`;

/** @param ebnf xgrammar's grammar of a schema */
export function correctGrammar(ebnf: string): string {
  const anything = ebnf.replaceAll(String.raw`[\u0000-\U0010FFFF]`, `[^${NOT_IN_STRINGS}]`);
  // Literals are skipped, classes corrected.
  return anything.replace(/"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]/g, (part) => part.startsWith("[") ? correctClass(part) : part);
}

function correctClass(text: string): string {
  if (text.startsWith("[^")) return text.includes(NOT_IN_STRINGS) ? text : `[^${NOT_IN_STRINGS}${text.slice(2)}`;
  return text.replace(/([^\\[\]])-([^\\\]])/g, (range, from: string, to: string) => without(from, to, ['"', "\\"]) ?? range);
}

/** A range without some of its characters; null if it holds none of them. */
function without(from: string, to: string, excluded: readonly string[]): string | null {
  const inside = excluded.filter((character) => from <= character && character <= to);
  if (inside.length === 0) return null;
  let first = from.charCodeAt(0);
  const parts: string[] = [];
  for (const end of [...inside.map((character) => character.charCodeAt(0)), to.charCodeAt(0) + 1]) {
    if (end > first) parts.push(`${escaped(first)}-${escaped(end - 1)}`);
    first = end + 1;
  }
  return parts.join("");
}

function escaped(code: number): string {
  return `\\x${code.toString(16).padStart(2, "0")}`;
}

/** The first pattern in a schema that names characters which strings hold only escaped; null if there is none. */
export function unusablePattern(schema: unknown): string | null {
  if (typeof schema !== "object" || schema === null) return null;
  for (const [key, value] of Object.entries(schema)) {
    if (key === "enum" || key === "const" || key === "default" || key === "examples") continue;
    if (key === "pattern" && typeof value === "string" && /["]|\\\\/.test(value)) return value;
    const found = unusablePattern(value);
    if (found !== null) return found;
  }
  return null;
}
