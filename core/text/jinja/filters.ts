/**
 * Filters as Jinja and transformers have them. A result of undefined leaves a value to the library.
 *
 * @module
 */
import { type JsonOptions, pythonJson, pythonText } from "./python_text.ts";
import { type Arguments, capitalized, strip } from "./string_methods.ts";
import { isInteger, isList, isMapping, isNone, isString, isUndefined, type Value } from "./values.ts";

/** A method of a mapping. */
interface Method {
  readonly value: (args: readonly Value[]) => Value;
}

type Filter = (on: Value, args: Arguments) => unknown;

/** By name. */
export const FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ["tojson", (on, args) => pythonJson(on, jsonOptions(args))],
  ["string", pythonText],
  ["trim", (on, { positional: [given], named }) => {
    const chars = given ?? named.get("chars");
    return strip(pythonText(on), chars === undefined || isNone(chars) ? null : pythonText(chars), "both");
  }],
  ["join", join],
  ["length", length],
  ["count", length],
  ["title", (on) => pythonText(on).split(/([-\s({[<]+)/).map(capitalized).join("")],
  ["capitalize", (on) => capitalized(pythonText(on))],
  ["upper", (on) => pythonText(on).toUpperCase()],
  ["lower", (on) => pythonText(on).toLowerCase()],
  // Of what is not there, Jinja makes nothing.
  ["items", (on) => isUndefined(on) ? [] : isMapping(on) ? (on.builtins.get("items") as unknown as Method).value([]) : undefined],
  ["list", (on) => isList(on) ? on : isString(on) ? Array.from(on.value) : isMapping(on) ? [...on.value.keys()] : isUndefined(on) ? [] : undefined],
]);

function length(on: Value): number | undefined {
  if (isString(on)) return Array.from(on.value).length;
  if (isList(on)) return on.value.length;
  if (isMapping(on)) return on.value.size;
  return isUndefined(on) ? 0 : undefined;
}

function join(on: Value, { positional, named }: Arguments): string | undefined {
  if (positional.length > 1 || named.has("attribute")) return undefined;
  const separator = positional[0] ?? named.get("d");
  const between = separator === undefined ? "" : pythonText(separator);
  if (isString(on)) return Array.from(on.value).join(between);
  return isList(on) ? on.value.map(pythonText).join(between) : undefined;
}

/** Those of transformers' own `tojson`. */
function jsonOptions({ positional, named }: Arguments): JsonOptions {
  const given = (index: number, name: string) => {
    const value = positional[index] ?? named.get(name);
    return value === undefined || isNone(value) ? undefined : value;
  };
  const indent = given(1, "indent");
  const separators = given(2, "separators");
  return {
    ensureAscii: given(0, "ensure_ascii")?.value === true,
    indent: indent === undefined ? null : isInteger(indent) ? " ".repeat(Math.max(0, indent.value)) : pythonText(indent),
    separators: separators !== undefined && isList(separators)
      ? [pythonText(separators.value[0]), pythonText(separators.value[1])]
      : [indent === undefined ? ", " : ",", ": "],
    sortKeys: given(3, "sort_keys")?.value === true,
  };
}
