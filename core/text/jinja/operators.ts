/**
 * Binary operators as Python has them. A result of null leaves two values to the library.
 *
 * @module
 */
import { pythonText } from "./python_text.ts";
import { floatOf, isInteger, isList, isMapping, isNone, isNumber, isString, isUndefined, type Value, valueOf } from "./values.ts";

type Operator = (left: Value, right: Value) => Value | null;

/** By sign. */
export const BINARY: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ["==", (left, right) => valueOf(equal(left, right))],
  ["!=", (left, right) => valueOf(!equal(left, right))],
  ["~", (left, right) => valueOf(pythonText(left) + pythonText(right))],
  ["+", add],
  ["*", (left, right) => repeated(left, right) ?? repeated(right, left)],
  ["%", remainder],
  ["<", (left, right) => ordered(left, right, (order) => order < 0)],
  [">", (left, right) => ordered(left, right, (order) => order > 0)],
  ["<=", (left, right) => ordered(left, right, (order) => order <= 0)],
  [">=", (left, right) => ordered(left, right, (order) => order >= 0)],
  ["in", (left, right) => valueOf(contains(left, right))],
  ["not in", (left, right) => valueOf(!contains(left, right))],
]);

/** By value, however deep. */
export function equal(left: Value, right: Value): boolean {
  if (isNumeric(left) && isNumeric(right)) return exact(left) === exact(right);
  if (isList(left) && isList(right)) {
    return left.type === right.type && left.value.length === right.value.length && left.value.every((item, i) => equal(item, right.value[i]));
  }
  if (isMapping(left) && isMapping(right)) {
    if (left.value.size !== right.value.size) return false;
    return Array.from(left.value).every(([key, item]) => right.value.has(key) && equal(item, right.value.get(key)!));
  }
  if (isUndefined(left) || isUndefined(right) || isNone(left) || isNone(right)) return left.type === right.type;
  return left.type === right.type && left.value === right.value;
}

function isNumeric(value: Value): boolean {
  return isNumber(value) || value.type === "BooleanValue";
}

/** Integers by all of their digits. */
function exact(value: Value): bigint | number {
  const text = isNumber(value) ? value.text : undefined;
  if (text === undefined) return Number(value.value);
  const whole = BigInt(text);
  return BigInt(Number(whole)) === whole ? Number(whole) : whole;
}

function add(left: Value, right: Value): Value {
  if (isString(left) && isString(right)) return valueOf(left.value + right.value);
  if (isList(left) && isList(right)) {
    const list = valueOf([]);
    (list.value as unknown[]).push(...left.value, ...right.value);
    return list;
  }
  if (isNumeric(left) && isNumeric(right)) {
    const sum = Number(left.value) + Number(right.value);
    return left.type === "FloatValue" || right.type === "FloatValue" ? floatOf(sum) : valueOf(sum);
  }
  throw new Error(
    isString(left)
      ? `can only concatenate str (not "${nameOf(right)}") to str`
      : `unsupported operand types for +: "${nameOf(left)}" and "${nameOf(right)}"`,
  );
}

function repeated(what: Value, times: Value): Value | null {
  if (!isInteger(times)) return null;
  const count = Math.max(0, times.value);
  if (isString(what)) return valueOf(what.value.repeat(count));
  if (!isList(what)) return null;
  const list = valueOf([]);
  for (let i = 0; i < count; i++) (list.value as unknown[]).push(...what.value);
  return list;
}

/** With the sign of the divisor. */
function remainder(left: Value, right: Value): Value | null {
  if (!isInteger(left) || !isInteger(right) || right.value === 0) return null;
  return valueOf(((left.value % right.value) + right.value) % right.value);
}

function ordered(left: Value, right: Value, holds: (order: number) => boolean): Value {
  const texts = isString(left) && isString(right);
  if (!texts && !(isNumeric(left) && isNumeric(right))) throw new Error(`"${nameOf(left)}" and "${nameOf(right)}" have no order`);
  const [a, b] = texts ? [left.value, right.value] : [Number(left.value), Number(right.value)];
  return valueOf(holds(a < b ? -1 : a > b ? 1 : a === b ? 0 : NaN));
}

function contains(left: Value, right: Value): boolean {
  if (isList(right)) return right.value.some((item) => equal(left, item));
  if (isMapping(right)) return isString(left) && right.value.has(left.value);
  if (isUndefined(right)) return false;
  if (isString(right) && isString(left)) return right.value.includes(left.value);
  throw new Error(`"${nameOf(left)}" cannot be looked for in "${nameOf(right)}"`);
}

function nameOf({ type }: Value): string {
  const names: Record<string, string> = {
    IntegerValue: "int",
    FloatValue: "float",
    BooleanValue: "bool",
    NullValue: "NoneType",
    ObjectValue: "dict",
    ArrayValue: "list",
    TupleValue: "tuple",
    UndefinedValue: "Undefined",
  };
  return names[type] ?? type;
}
