/**
 * Methods of Python's `str` that `@huggingface/jinja` lacks, or has in JavaScript's way.
 *
 * @module
 */
import { isInteger, isList, isNone, isString, type Value, valueOf } from "./values.ts";

/** Arguments of a call. */
export interface Arguments {
  readonly positional: readonly Value[];
  readonly named: ReadonlyMap<string, Value>;
}

type Method = (text: string, args: Arguments) => unknown;

/** What Python takes for white space. */
const SPACE =
  "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000";

/** By name; what is missing here is left to the library. */
export const STRING_METHODS: ReadonlyMap<string, Method> = new Map<string, Method>([
  ["strip", (text, args) => strip(text, chars(args), "both")],
  ["lstrip", (text, args) => strip(text, chars(args), "left")],
  ["rstrip", (text, args) => strip(text, chars(args), "right")],
  ["split", (text, args) => split(text, args, false)],
  ["rsplit", (text, args) => split(text, args, true)],
  [
    "splitlines",
    (text) => text === "" ? [] : text.replace(/(\r\n|[\n\r\v\f\u0085\u2028\u2029])$/, "").split(/\r\n|[\n\r\v\f\u0085\u2028\u2029]/),
  ],
  ["join", (text, { positional: [list] }) => joined(list).join(text)],
  ["removeprefix", (text, args) => text.startsWith(textAt(args, 0)) ? text.slice(textAt(args, 0).length) : text],
  ["removesuffix", (text, args) => text.endsWith(textAt(args, 0)) ? text.slice(0, text.length - textAt(args, 0).length) : text],
  ["find", (text, args) => codePointsBefore(text, text.indexOf(textAt(args, 0)))],
  ["rfind", (text, args) => codePointsBefore(text, text.lastIndexOf(textAt(args, 0)))],
  ["count", (text, args) => textAt(args, 0) === "" ? Array.from(text).length + 1 : text.split(textAt(args, 0)).length - 1],
  ["title", (text) => text.replace(/\p{L}+/gu, capitalized)],
  ["capitalize", capitalized],
  ["isdigit", (text) => /^\p{Nd}+$/u.test(text)],
  ["isspace", (text) => text !== "" && strip(text, null, "left") === ""],
]);

/** Without these characters at its ends. @param chars null: white space */
export function strip(text: string, chars: string | null, side: "both" | "left" | "right"): string {
  const set = new Set(chars ?? SPACE);
  const characters = Array.from(text);
  let [from, to] = [0, characters.length];
  if (side !== "right") { while (from < to && set.has(characters[from])) from++; }
  if (side !== "left") { while (to > from && set.has(characters[to - 1])) to--; }
  return characters.slice(from, to).join("");
}

/** The first character in upper case, all others in lower case. */
export function capitalized(text: string): string {
  const [first = "", ...rest] = text;
  return first.toUpperCase() + rest.join("").toLowerCase();
}

function chars({ positional: [given], named }: Arguments): string | null {
  const value = given ?? named.get("chars");
  if (value === undefined || isNone(value)) return null;
  if (isString(value)) return value.value;
  throw new Error("strip arg must be None or str");
}

function split(text: string, { positional, named }: Arguments, fromRight: boolean): string[] {
  const separator = positional[0] ?? named.get("sep");
  const limit = positional[1] ?? named.get("maxsplit");
  const most = limit !== undefined && isInteger(limit) && limit.value >= 0 ? limit.value : Infinity;
  if (separator === undefined || isNone(separator)) return words(text, most, fromRight);
  if (!isString(separator) || separator.value === "") throw new Error("empty separator");
  const parts = text.split(separator.value);
  if (parts.length - 1 <= most) return parts;
  return fromRight
    ? [parts.slice(0, parts.length - most).join(separator.value), ...parts.slice(parts.length - most)]
    : [...parts.slice(0, most), parts.slice(most).join(separator.value)];
}

/** Parts between white space. */
function words(text: string, most: number, fromRight: boolean): string[] {
  const found: string[] = [];
  let rest = strip(text, null, "both");
  while (rest !== "" && found.length < most) {
    const characters = Array.from(rest);
    const isSpace = (character: string) => SPACE.includes(character);
    const at = fromRight ? characters.findLastIndex(isSpace) : characters.findIndex(isSpace);
    if (at < 0) break;
    const [before, after] = [characters.slice(0, at).join(""), characters.slice(at + 1).join("")];
    found.push(fromRight ? after : before);
    rest = fromRight ? strip(before, null, "right") : strip(after, null, "left");
  }
  if (rest !== "") found.push(rest);
  return fromRight ? found.reverse() : found;
}

function joined(list: Value | undefined): string[] {
  if (list === undefined || !isList(list)) throw new Error("can only join an iterable");
  return list.value.map((item) => {
    if (!isString(item)) throw new Error("sequence item: expected str instance");
    return item.value;
  });
}

function textAt({ positional }: Arguments, index: number): string {
  const value = positional[index];
  if (value === undefined || !isString(value)) throw new Error("argument must be str");
  return value.value;
}

function codePointsBefore(text: string, index: number): number {
  return index < 0 ? -1 : Array.from(text.slice(0, index)).length;
}

/** A method's result as a value. */
export function callMethod(name: string, text: string, args: Arguments): Value {
  return valueOf(STRING_METHODS.get(name)!(text, args));
}
