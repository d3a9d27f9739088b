/**
 * Values as Python writes them: `str`, `repr` and `json.dumps`.
 *
 * @module
 */
import { isList, isMapping, isNone, isNumber, isString, isUndefined, type NumberValue, type Value } from "./values.ts";

/** `str(value)`. */
export function pythonText(value: Value): string {
  if (isString(value)) return value.value;
  return isUndefined(value) ? "" : repr(value);
}

/** `repr(value)`. */
export function repr(value: Value): string {
  if (isString(value)) return quoted(value.value);
  if (isNone(value)) return "None";
  if (value.type === "BooleanValue") return value.value ? "True" : "False";
  if (isNumber(value)) return numeral(value);
  if (isList(value)) {
    const items = value.value.map(repr);
    if (value.type !== "TupleValue") return `[${items.join(", ")}]`;
    return items.length === 1 ? `(${items[0]},)` : `(${items.join(", ")})`;
  }
  if (isMapping(value)) return `{${Array.from(value.value, ([key, part]) => `${quoted(key)}: ${repr(part)}`).join(", ")}}`;
  return isUndefined(value) ? "Undefined" : value.toString();
}

/** How `json.dumps` is asked to write. */
export interface JsonOptions {
  readonly ensureAscii: boolean;
  /** What each level is indented by; null: all in one line. */
  readonly indent: string | null;
  readonly separators: readonly [item: string, key: string];
  readonly sortKeys: boolean;
}

/** `json.dumps(value)`. @throws {Error} of values that JSON has no form for */
export function pythonJson(value: Value, options: JsonOptions, depth = 0): string {
  if (isString(value)) return jsonString(value.value, options.ensureAscii);
  if (isNone(value)) return "null";
  if (value.type === "BooleanValue") return String(value.value);
  if (isNumber(value)) return numeral(value);
  if (isList(value)) return wrapped("[]", value.value.map((item) => pythonJson(item, options, depth + 1)), options, depth);
  if (isMapping(value)) {
    const entries = [...value.value];
    if (options.sortKeys) entries.sort(([a], [b]) => compareCodePoints(a, b));
    const written = entries.map(([key, part]) => jsonString(key, options.ensureAscii) + options.separators[1] + pythonJson(part, options, depth + 1));
    return wrapped("{}", written, options, depth);
  }
  throw new Error(`Object of type ${isUndefined(value) ? "Undefined" : value.type} is not JSON serializable`);
}

function wrapped([open, close]: string, parts: readonly string[], { indent, separators }: JsonOptions, depth: number): string {
  if (parts.length === 0) return open + close;
  if (indent === null) return open + parts.join(separators[0]) + close;
  const line = `\n${indent.repeat(depth + 1)}`;
  return `${open}${line}${parts.join(separators[0] + line)}\n${indent.repeat(depth)}${close}`;
}

function jsonString(text: string, ascii: boolean): string {
  const json = JSON.stringify(text);
  // Unlike JavaScript, Python escapes halves of characters only where it escapes all but ASCII.
  return ascii ? json.replace(/[\x7f-\uffff]/g, (unit) => unit === "\x7f" ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`) : json;
}

/** A number as both `repr` and `json.dumps` write it. */
function numeral(value: NumberValue): string {
  if (value.type === "IntegerValue") return value.text ?? BigInt(value.value).toString();
  const number = value.value;
  if (!Number.isFinite(number)) return Number.isNaN(number) ? "nan" : number > 0 ? "inf" : "-inf";
  if (Object.is(number, -0)) return "-0.0";
  const [digits, power] = number.toExponential().split("e");
  const exponent = Number(power);
  if (exponent >= 16 || exponent < -4) return `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  const plain = String(number).includes("e") ? number.toFixed(20).replace(/0+$/, "") : String(number);
  return plain.includes(".") ? plain : `${plain}.0`;
}

/** Quoted as Python does: double quotes only around what holds single ones and no double ones. */
function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = Array.from(text, (character) => {
    if (character === quote || character === "\\") return `\\${character}`;
    const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
    if (short !== undefined) return short;
    const point = character.codePointAt(0)!;
    if (point === 0x20 || !/[\p{C}\p{Z}]/u.test(character)) return character;
    if (point <= 0xff) return `\\x${point.toString(16).padStart(2, "0")}`;
    return point <= 0xffff ? `\\u${point.toString(16).padStart(4, "0")}` : `\\U${point.toString(16).padStart(8, "0")}`;
  });
  return quote + escaped.join("") + quote;
}

function compareCodePoints(a: string, b: string): number {
  const [left, right] = [Array.from(a), Array.from(b)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const order = left[i].codePointAt(0)! - right[i].codePointAt(0)!;
    if (order !== 0) return order;
  }
  return left.length - right.length;
}
