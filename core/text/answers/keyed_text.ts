/**
 * Arguments that stand one by one, as text.
 *
 * @module
 */
import type { KeyedForm } from "./answer_grammar.ts";
import { JsonEnd } from "./json_end.ts";

/** A name, and its value as JSON. */
export type Argument = readonly [name: string, json: string];

/** Writes them. @param value how a value is written */
export function writeKeyed(form: KeyedForm, entries: readonly Argument[], value: (json: string) => string): string {
  const { key, between, value: around, after, separator } = form;
  return entries.map(([name, json]) => `${key[0]}${name}${key[1]}${between}${around[0]}${value(json)}${around[1]}${after}`).join(separator);
}

/** A string without its quotes, everything else as it is. */
export function bareText(json: string): string {
  return json.startsWith('"') ? JSON.parse(json) : json;
}

/** The properties of an object, with their values as they are written there: numbers keep all of their digits. None if it is no object. */
export function entriesOf(json: string): Argument[] {
  const object = parsed(json);
  if (typeof object !== "object" || object === null || Array.isArray(object)) return [];
  const entries = new Map<string, string>();
  for (let at = json.indexOf("{") + 1; at > 0;) {
    const begin = json.indexOf('"', at);
    if (begin < 0) break;
    const nameEnd = begin + lengthOf(json.slice(begin));
    const valueBegin = json.indexOf(":", nameEnd) + 1;
    const text = json.slice(valueBegin);
    const blank = text.length - text.trimStart().length;
    const length = lengthOf(text.trimStart());
    entries.set(JSON.parse(json.slice(begin, nameEnd)), text.slice(blank, blank + length).trim());
    at = valueBegin + blank + length;
  }
  return [...entries];
}

/** Length of the value that a text begins with. */
function lengthOf(text: string): number {
  const end = new JsonEnd({ scalars: ",}" }).push(text);
  return end < 0 ? text.length : end;
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}
