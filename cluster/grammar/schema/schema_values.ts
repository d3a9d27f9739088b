/**
 * Whether a value that is known fits a schema, as validators decide it.
 *
 * @module
 */
import type { Writers } from "./writers.ts";
import { canonical, type Json } from "../text/json_text.ts";
import type { NumberRules } from "../text/numbers.ts";
import type { Demand } from "./demand.ts";
import type { ArrayPlan } from "./array_plan.ts";
import type { ObjectPlan } from "./object_plan.ts";
import { type Shape, type TextRules, Type, typeOf } from "./shape.ts";

/** What deciding needs to know. */
export interface ValueQuestions {
  readonly writers: Writers;
  shapes(demand: Demand): readonly Shape[];
  object(shape: Shape): ObjectPlan | null;
  array(shape: Shape): ArrayPlan;
}

/** Whether a value fits a demand. */
export function fitsDemand(value: Json, demand: Demand, questions: ValueQuestions): boolean {
  return questions.shapes(demand).some((shape) => fitsShape(value, shape, questions));
}

/** Whether a value has a shape. */
export function fitsShape(value: Json, shape: Shape, questions: ValueQuestions): boolean {
  if (shape.values !== null && !textsOf(shape.values, (other) => other).has(canonical(value))) return false;
  return fitsRules(value, shape, questions);
}

/** Whether a value has a shape, or may be one of its values. */
export function fitsRules(value: Json, shape: Shape, questions: ValueQuestions): boolean {
  const type = typeOf(value);
  if ((shape.types & type) === 0) return false;
  if (shape.excluded.length > 0 && textsOf(shape.excluded, (excluded) => excluded.value).has(canonical(value))) return false;
  switch (type) {
    case Type.number:
      return fitsNumber(value as number, shape.number);
    case Type.string:
      return fitsText(value as string, shape.text, questions.writers);
    case Type.array:
      return fitsArray(value as readonly Json[], questions.array(shape), questions);
    case Type.object:
      return fitsObject(value as Readonly<Record<string, Json>>, questions.object(shape), questions);
    default:
      return true;
  }
}

/** Lists of values as texts: each is asked about every value that may be one of them, so they are made once. */
const TEXTS = new WeakMap<readonly unknown[], ReadonlySet<string>>();

function textsOf<T>(list: readonly T[], valueOf: (element: T) => Json): ReadonlySet<string> {
  let texts = TEXTS.get(list);
  if (texts === undefined) TEXTS.set(list, texts = new Set(list.map((element) => canonical(valueOf(element)))));
  return texts;
}

function fitsNumber(value: number, { integer, min, max, multiplesOf }: NumberRules): boolean {
  if (integer && !Number.isInteger(value)) return false;
  if (min !== null && (value < min.value || (min.exclusive && value === min.value))) return false;
  if (max !== null && (value > max.value || (max.exclusive && value === max.value))) return false;
  return multiplesOf.every((factor) => Number.isInteger(value / factor));
}

function fitsText(value: string, { min, max, patterns }: TextRules, writers: Writers): boolean {
  const length = [...value].length;
  return length >= min && length <= max &&
    patterns.every(({ source, negated }) => writers.fits(negated ? writers.patterns.lacking(source) : writers.patterns.containing(source), value));
}

function fitsArray(value: readonly Json[], plan: ArrayPlan, questions: ValueQuestions): boolean {
  if (value.length < plan.min || value.length > plan.max) return false;
  const items = value.map((item, place) => ({ item, demand: plan.first[place] ?? plan.rest }));
  if (!items.every(({ item, demand }) => fitsDemand(item, demand.any, questions))) return false;
  if (plan.distinct !== null && new Set(value.map(canonical)).size < value.length) return false;
  return plan.counted === 0 || items.filter(({ item, demand }) => fitsDemand(item, demand.counted!, questions)).length >= plan.counted;
}

function fitsObject(value: Readonly<Record<string, Json>>, plan: ObjectPlan | null, questions: ValueQuestions): boolean {
  const count = Object.keys(value).length;
  if (plan === null || count < plan.min || count > plan.max) return false;
  if (plan.named.some(({ name, required }) => required && !Object.hasOwn(value, name))) return false;
  return Object.entries(value).every(([name, item]) => {
    const demand = plan.named.find((named) => named.name === name)?.demand ??
      plan.others.find((others) => questions.writers.fits(others.name, name))?.demand;
    return demand !== undefined && fitsDemand(item, demand, questions);
  });
}
