/**
 * Objects as expressions: properties in the order of their plan, each at most once.
 *
 * @module
 */
import { type Expr, NOTHING } from "../automaton/expressions.ts";
import type { Writers } from "./writers.ts";
import type { Demand } from "./demand.ts";
import type { ObjectPlan } from "./object_plan.ts";
import { jsonSyntax, type ObjectSyntax } from "./object_syntax.ts";

/** What writing needs to know of demands. */
export interface PartQuestions {
  readonly writers: Writers;
  possible(demand: Demand): boolean;
  value(demand: Demand): Expr;
}

/** How far an object has come. */
interface Progress {
  /** Named properties that have been passed. */
  readonly passed: number;
  /** Named properties it has. */
  readonly named: number;
  /** Other properties it has. */
  readonly others: number;
}

/** @param syntax default: JSON @returns nothing if there can be no such object */
export function writeObject(plan: ObjectPlan | null, questions: PartQuestions, syntax?: ObjectSyntax): Expr {
  if (plan === null) return NOTHING;
  return new ObjectWriter(plan, questions, syntax ?? jsonSyntax(questions.writers, (demand) => questions.value(demand))).write();
}

class ObjectWriter {
  readonly #plan: ObjectPlan;
  readonly #questions: PartQuestions;
  readonly #syntax: ObjectSyntax;
  readonly #possible: ObjectPlan["named"];
  readonly #others: ObjectPlan["others"];
  /** How many of the named properties from a place on are required. */
  readonly #required: readonly number[];
  readonly #rules = new Map<string, Expr>();

  constructor(plan: ObjectPlan, questions: PartQuestions, syntax: ObjectSyntax) {
    this.#plan = plan;
    this.#questions = questions;
    this.#syntax = syntax;
    this.#possible = plan.named.filter(({ demand }) => questions.possible(demand));
    this.#others = plan.others.filter(({ demand }) => questions.possible(demand));
    const required = [0];
    for (const property of this.#possible.toReversed()) required.push(required.at(-1)! + (property.required ? 1 : 0));
    this.#required = required.reverse();
  }

  write(): Expr {
    const { named } = this.#plan;
    const begin = { passed: 0, named: 0, others: 0 };
    if (named.some(({ required, demand }) => required && !this.#questions.possible(demand)) || !this.#mayGoOn(begin)) return NOTHING;
    const { expressions } = this.#questions.writers;
    return expressions.sequence([this.#syntax.open, this.#rest(begin)]);
  }

  /** Whether an object that has come so far can be completed. Other properties count once: nothing keeps their names apart. */
  #mayGoOn({ passed, named, others }: Progress): boolean {
    const { min, max } = this.#plan;
    if (named + others + this.#required[passed] > max) return false;
    const room = max - named - others;
    const more = Math.min(room, this.#possible.length - passed);
    const other = others > 0 ? 1 : this.#others.length > 0 && room > more ? 1 : 0;
    return named + more + other >= min;
  }

  /** What may follow, up to the closing brace. */
  #rest(progress: Progress): Expr {
    // Counts that decide nothing any more are the same state.
    const { min, max } = this.#plan;
    const most = Number.isFinite(max) ? max : Math.max(1, min);
    const { passed } = progress;
    const named = Math.min(progress.named, most);
    const others = Math.min(progress.others, Number.isFinite(max) ? max : 1);
    const key = `${passed},${named},${others}`;
    let rule = this.#rules.get(key);
    if (rule === undefined) {
      const mayEnd = this.#questions.writers.expressions.nullable(this.#syntax.close) && this.#mayEnd({ passed, named, others });
      rule = this.#questions.writers.expressions.rule(mayEnd, () => this.#write({ passed, named, others }));
      this.#rules.set(key, rule);
    }
    return rule;
  }

  /** Whether the object is complete. */
  #mayEnd({ passed, named, others }: Progress): boolean {
    return this.#required[passed] === 0 && named + Math.min(others, 1) >= this.#plan.min;
  }

  #write({ passed, named, others }: Progress): Expr {
    const { expressions: x } = this.#questions.writers;
    const syntax = this.#syntax;
    const separator = syntax.before(named + others === 0);
    const property = (name: Expr, demand: Demand, next: Progress) =>
      this.#mayGoOn(next) ? x.sequence([separator, name, syntax.between, syntax.value(demand), syntax.after, this.#rest(next)]) : NOTHING;
    const options: Expr[] = [];
    for (let i = passed; i < this.#possible.length; i++) {
      const { name, required, demand } = this.#possible[i];
      options.push(property(syntax.named(name), demand, { passed: i + 1, named: named + 1, others }));
      if (required) return x.union(options);
    }
    const next = { passed: this.#possible.length, named, others: others + 1 };
    options.push(...this.#others.map(({ name, demand }) => property(syntax.other(name), demand, next)));
    if (this.#mayEnd({ passed, named, others })) options.push(syntax.close);
    return x.union(options);
  }
}
