/**
 * Arrays as expressions, place by place.
 *
 * @module
 */
import { type Expr, NOTHING } from "../automaton/expressions.ts";
import type { Demand } from "./demand.ts";
import type { ArrayPlan, ItemDemand } from "./array_plan.ts";
import type { PartQuestions } from "./object_writer.ts";

/** @returns nothing if there can be no such array */
export function writeArray(plan: ArrayPlan, questions: PartQuestions): Expr {
  return plan.distinct === null ? new ArrayWriter(plan, questions).write() : new DistinctWriter(plan, questions).write();
}

class ArrayWriter {
  readonly #plan: ArrayPlan;
  readonly #questions: PartQuestions;
  readonly #max: number;
  readonly #rules = new Map<string, Expr>();

  constructor(plan: ArrayPlan, questions: PartQuestions) {
    this.#plan = plan;
    this.#questions = questions;
    const impossible = [...plan.first, plan.rest].findIndex(({ any }) => !questions.possible(any));
    this.#max = impossible < 0 ? plan.max : Math.min(plan.max, impossible);
  }

  write(): Expr {
    const { expressions: x } = this.#questions.writers;
    return this.#plan.min <= this.#max && this.#mayGoOn(0, 0) ? x.sequence([x.literal("["), this.#rest(0, 0)]) : NOTHING;
  }

  #item(place: number): ItemDemand {
    return this.#plan.first[place] ?? this.#plan.rest;
  }

  #mayCount(place: number): boolean {
    const { counted } = this.#item(place);
    return counted !== null && this.#questions.possible(counted);
  }

  /** Whether as many items can still count as have to. */
  #mayGoOn(items: number, counted: number): boolean {
    let left = this.#plan.counted - counted;
    for (let place = items; left > 0 && place < Math.min(this.#max, this.#plan.first.length); place++) if (this.#mayCount(place)) left--;
    const after = Math.max(items, this.#plan.first.length);
    return left <= 0 || (this.#mayCount(after) && this.#max - after >= left);
  }

  /** What may follow after so many items, up to the closing bracket. */
  #rest(items: number, counted: number): Expr {
    // Places that differ in nothing any more are the same state.
    const { min, first } = this.#plan;
    const last = Number.isFinite(this.#max) ? this.#max : Math.max(1, min, first.length);
    const place = Math.min(items, last);
    const key = `${place},${counted}`;
    let rule = this.#rules.get(key);
    if (rule === undefined) this.#rules.set(key, rule = this.#questions.writers.expressions.rule(false, () => this.#write(place, counted)));
    return rule;
  }

  #write(items: number, counted: number): Expr {
    const { writers, value } = this.#questions;
    const { expressions: x, json } = writers;
    const separator = items === 0 ? json.gap : x.sequence([x.literal(","), json.gap]);
    const options: Expr[] = [];
    const add = (demand: Demand, next: number) => {
      if (!this.#mayGoOn(items + 1, next)) return;
      options.push(x.sequence([separator, value.call(this.#questions, demand), this.#rest(items + 1, next)]));
    };
    if (items < this.#max) {
      add(this.#item(items).any, counted);
      if (counted < this.#plan.counted && this.#mayCount(items)) add(this.#item(items).counted!, counted + 1);
    }
    if (items >= this.#plan.min && counted >= this.#plan.counted) options.push(x.sequence([json.gap, x.literal("]")]));
    return x.union(options);
  }
}

/** Items out of a list of values, none of them twice: what has come is part of the state. */
class DistinctWriter {
  readonly #plan: ArrayPlan;
  readonly #questions: PartQuestions;
  readonly #rules = new Map<bigint, Expr>();

  constructor(plan: ArrayPlan, questions: PartQuestions) {
    this.#plan = plan;
    this.#questions = questions;
  }

  write(): Expr {
    const { distinct, min, max } = this.#plan;
    const { expressions: x } = this.#questions.writers;
    return min <= Math.min(max, distinct!.length) ? x.sequence([x.literal("["), this.#rest(0n, 0)]) : NOTHING;
  }

  /**
   * @param used a bit for each value that has come
   * @param count how many have
   */
  #rest(used: bigint, count: number): Expr {
    let rule = this.#rules.get(used);
    if (rule === undefined) this.#rules.set(used, rule = this.#questions.writers.expressions.rule(false, () => this.#write(used, count)));
    return rule;
  }

  #write(used: bigint, count: number): Expr {
    const { distinct, min, max } = this.#plan;
    const { expressions: x, json } = this.#questions.writers;
    const separator = count === 0 ? json.gap : x.sequence([x.literal(","), json.gap]);
    const items = count === max ? [] : distinct!.flatMap((value, i) => {
      const bit = 1n << BigInt(i);
      return (used & bit) === 0n ? [x.sequence([separator, json.value(value), this.#rest(used | bit, count + 1)])] : [];
    });
    const end = count >= min ? [x.sequence([json.gap, x.literal("]")])] : [];
    return x.union([...items, ...end]);
  }
}
