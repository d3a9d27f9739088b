/**
 * `for` as Jinja has it: what is set within a loop is gone with its turn, and a turn that is broken off keeps what it has written. `@huggingface/jinja` has neither.
 *
 * @module
 */
import { Environment } from "@huggingface/jinja";
import { isList, isMapping, isString, isUndefined, type Value, valueOf } from "./values.ts";

/** `{% break %}` or `{% continue %}`, on its way to the loop that it is for. */
export class LoopControl extends Error {
  readonly kind: "Break" | "Continue";
  /** What the turn has written so far, from the inside to the outside. */
  text = "";

  constructor(kind: "Break" | "Continue") {
    super(`${kind.toLowerCase()} outside of a loop`);
    this.kind = kind;
  }
}

/** A node of a parsed template. */
export interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** What evaluates the parts of a loop. */
export interface Evaluator {
  evaluate(node: unknown, environment: Environment): Value;
  evaluateBlock(statements: readonly Node[], environment: Environment): Value;
}

/** What a loop writes. @throws {Error} what is no list, and whatever its parts throw */
export function runLoop({ iterable, loopvar, body, defaultBlock }: Node, environment: Environment, evaluator: Evaluator): string {
  const { lhs, test } = iterable as Node;
  const isFiltered = (iterable as Node).type === "SelectExpression";
  const bind = (item: Value): Environment => {
    const scope = new Environment(environment);
    assign(loopvar as Node, item, scope);
    return scope;
  };
  const items = itemsOf(evaluator.evaluate(isFiltered ? lhs : iterable, environment))
    .filter((item) => !isFiltered || truthOf(evaluator.evaluate(test, bind(item))));
  let text = "";
  // As Jinja counts: turns that were broken off are none.
  let turns = 0;
  for (const [index, item] of items.entries()) {
    const scope = bind(item);
    scope.setVariable("loop", loopOf(items, index));
    try {
      text += textOf(evaluator.evaluateBlock(body as Node[], scope));
      turns++;
    } catch (error) {
      if (!(error instanceof LoopControl)) throw error;
      text += error.text;
      if (error.kind === "Break") break;
    }
  }
  return turns > 0 ? text : text + textOf(evaluator.evaluateBlock(defaultBlock as Node[], environment));
}

/** What Python would go through: texts by their characters; what is not there has nothing. */
function itemsOf(value: Value): readonly Value[] {
  if (isList(value)) return value.value;
  if (isString(value)) return Array.from(value.value, valueOf);
  if (isMapping(value)) return Array.from(value.value.keys(), valueOf);
  if (isUndefined(value)) return [];
  throw new Error(`Expected iterable or object type in for loop: got ${value.type}`);
}

function assign(names: Node, item: Value, scope: Environment): void {
  if (names.type === "Identifier") return void scope.setVariable(names.value as string, item);
  if (names.type !== "TupleLiteral") throw new Error(`Invalid loop variable(s): ${names.type}`);
  const parts = names.value as readonly Node[];
  if (!isList(item)) throw new Error(`Cannot unpack non-iterable type: ${item.type}`);
  if (item.value.length !== parts.length) throw new Error(`Too ${item.value.length < parts.length ? "few" : "many"} items to unpack`);
  parts.forEach((part, i) => assign(part, item.value[i], scope));
}

function loopOf(items: readonly Value[], index: number): Value {
  const left = items.length - index;
  const loop = valueOf({
    index: index + 1,
    index0: index,
    revindex: left,
    revindex0: left - 1,
    first: index === 0,
    last: left === 1,
    length: items.length,
  });
  const fields = loop.value as Map<string, Value>;
  if (index > 0) fields.set("previtem", items[index - 1]);
  if (left > 1) fields.set("nextitem", items[index + 1]);
  return loop;
}

function truthOf(value: Value): boolean {
  return value.__bool__().value;
}

function textOf(value: Value): string {
  return isString(value) ? value.value : "";
}
