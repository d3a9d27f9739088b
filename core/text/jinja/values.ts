/**
 * Values as templates have them.
 *
 * `@huggingface/jinja` does not export the classes of its values, so they are taken from values that it makes.
 *
 * @module
 */
import { Environment } from "@huggingface/jinja";
import { numberText } from "../json_numbers.ts";

/** A value of a template. */
export type Value = ReturnType<Environment["set"]>;

/** Numbers may carry how they were written. */
export type NumberValue = Value & { value: number; text?: string };

const samples = new Environment();
let made = 0;
const StringValue = classOf("");
const BooleanValue = classOf(true);

/** A value from JavaScript's: plain ones, arrays, objects, functions. */
export function valueOf(input: unknown): Value {
  if (Array.isArray(input)) return filled(input, [], (value, list) => (value.value as unknown[]).push(...list));
  if (typeof input === "object" && input !== null) {
    return filled(input, {}, (value, list) => {
      const map = value.value as Map<string, Value>;
      // A field that is undefined is none, as in JSON.
      Object.entries(input).forEach(([key, part], i) => part === undefined || map.set(key, list[i]));
    });
  }
  return single(input);
}

function filled(input: object, empty: object, fill: (value: Value, parts: Value[]) => void): Value {
  const value = single(empty);
  fill(
    value,
    Object.entries(input).map(([key, part]) => typeof part === "number" ? numberOf(part, numberText(input, key)) : valueOf(part)),
  );
  return value;
}

function numberOf(number: number, text: string | undefined): Value {
  if (text === undefined) return single(number);
  const float = /[.eE]/.test(text);
  const value = single(float ? 0.5 : 1) as NumberValue;
  value.value = number;
  if (!float) value.text = text;
  return value;
}

/** A float, though it be whole. */
export function floatOf(number: number): Value {
  return numberOf(number, `${number}.`);
}

/** A value that holds no others. */
function single(input: unknown): Value {
  // What rendering makes most of is made without a detour.
  if (typeof input === "string") return new StringValue(input);
  if (typeof input === "boolean") return new BooleanValue(input);
  return sample(input);
}

/** A value that the library makes. */
function sample(input: unknown): Value {
  const name = `v${made++}`;
  const value = samples.set(name, input);
  samples.variables.delete(name);
  return value;
}

/** The class of a value's kind. */
function classOf(input: unknown): new (value: unknown) => Value {
  return sample(input).constructor as new (value: unknown) => Value;
}

/** Values of a type. */
export function isString(value: Value): value is Value & { value: string } {
  return value.type === "StringValue";
}

/** Lists and tuples. */
export function isList(value: Value): value is Value & { value: Value[] } {
  return value.type === "ArrayValue" || value.type === "TupleValue";
}

/** Mappings; of namespaces only what `namespaces` asks for. */
export function isMapping(value: Value): value is Value & { value: Map<string, Value> } {
  return value.type === "ObjectValue" || value.type === "KeywordArgumentsValue";
}

/** Integers. */
export function isInteger(value: Value): value is NumberValue {
  return value.type === "IntegerValue";
}

/** Integers and floats. */
export function isNumber(value: Value): value is NumberValue {
  return isInteger(value) || value.type === "FloatValue";
}

/** What is not there. */
export function isUndefined(value: Value): boolean {
  return value.type === "UndefinedValue";
}

/** None. */
export function isNone(value: Value): boolean {
  return value.type === "NullValue";
}
