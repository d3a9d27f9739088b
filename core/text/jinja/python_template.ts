/**
 * Jinja as Python has it, and transformers sets it up: `@huggingface/jinja` with its gaps mended. What is mended is where it writes values in JavaScript's way
 * or refuses what Python does not.
 *
 * @module
 */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { BINARY } from "./operators.ts";
import { FILTERS } from "./filters.ts";
import { LoopControl, type Node, runLoop } from "./loops.ts";
import { pythonText } from "./python_text.ts";
import { type Arguments, callMethod, STRING_METHODS } from "./string_methods.ts";
import { isList, isMapping, isString, isUndefined, type Value, valueOf } from "./values.ts";

/** What of the interpreter is not declared for others, though every node goes through it. */
interface OpenInterpreter {
  evaluate(node: unknown, environment: Environment): Value;
  evaluateArguments(args: unknown, environment: Environment): [Value[], Map<string, Value>];
  run(program: unknown): Value;
}

/** A function that templates can call. */
interface Callable {
  value: (args: readonly Value[], scope: Environment) => Value;
}

const OpenInterpreter = Interpreter as unknown as new (environment: Environment) => OpenInterpreter;

/** Statements: what they come to is not printed, unless it is the text of what is within them. */
const STATEMENTS = new Set(["Set", "If", "For", "Macro", "CallStatement", "FilterStatement", "Comment", "Break", "Continue", "Program"]);
/** Methods of mappings, which win over their keys after a dot. */
const MAPPING_METHODS = new Set(["get", "items", "keys", "values"]);

/** A template. */
export class PythonTemplate {
  readonly #program: ReturnType<typeof parse>;

  /** @throws {Error} if it cannot be parsed */
  constructor(source: string) {
    // Marks for trainers, which say nothing about the text.
    const plain = source.replace(/\{%(-?)\s*(?:end)?generation\s*(-?)%\}/g, "{%$1 if true $2%}{% endif %}");
    this.#program = parse(tokenize(plain, { lstrip_blocks: true, trim_blocks: true }));
  }

  /** @throws {Error} whatever the template refuses */
  render(variables: Readonly<Record<string, unknown>>): string {
    const environment = new Environment();
    for (const [name, value] of Object.entries(GLOBALS)) environment.set(name, value);
    for (const [name, value] of Object.entries(variables)) environment.setVariable(name, valueOf(value));
    return pythonText(new PythonInterpreter(environment).run(this.#program));
  }
}

const GLOBALS = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  raise_exception: (message: string) => {
    throw new Error(message);
  },
  range: (start: number, stop?: number, step = 1) => {
    const [from, to] = stop === undefined ? [0, start] : [start, stop];
    return Array.from({ length: Math.max(0, Math.ceil((to - from) / step)) }, (_, i) => from + i * step);
  },
  strftime_now: (format: string) => strftime(new Date(), format),
};

class PythonInterpreter extends OpenInterpreter {
  override evaluate(node: unknown, environment: Environment): Value {
    if (node === undefined) return super.evaluate(node, environment);
    const { type } = node as Node;
    switch (type) {
      case "BinaryExpression":
        return this.#binary(node as Node, environment) ?? super.evaluate(node, environment);
      case "FilterExpression":
        return this.#filter(node as Node, environment) ?? super.evaluate(node, environment);
      case "TestExpression":
        return this.#test(node as Node, environment) ?? super.evaluate(node, environment);
      case "For":
        return valueOf(runLoop(node as Node, environment, this));
      case "Break":
      case "Continue":
        throw new LoopControl(type);
      case "Macro":
        return this.#macro(node as Node, environment);
      case "CallExpression":
        return this.#call(node as Node, environment) ?? super.evaluate(node, environment);
      default:
        return super.evaluate(node, environment);
    }
  }

  /** Every block of statements; called by the library. */
  evaluateBlock(statements: readonly Node[], environment: Environment): Value {
    let text = "";
    for (const statement of statements) {
      try {
        const value = this.evaluate(statement, environment);
        if (!STATEMENTS.has(statement.type)) text += pythonText(value);
        else if (isString(value)) text += value.value;
      } catch (error) {
        if (error instanceof LoopControl) error.text = text + error.text;
        throw error;
      }
    }
    return valueOf(text);
  }

  /** A macro sees what is set where it is written, not where it is called. */
  #macro(node: Node, environment: Environment): Value {
    const written = super.evaluate(node, environment);
    const macro = environment.lookupVariable((node.name as Node).value as string) as unknown as Callable;
    const run = macro.value;
    macro.value = (args, scope) => {
      const own = new Environment(environment);
      // Of a call with a block.
      const caller = scope.variables.get("caller");
      if (caller !== undefined) own.setVariable("caller", caller);
      return run(args, own);
    };
    return written;
  }

  #binary({ left, right, operator }: Node, environment: Environment): Value | null {
    const mended = BINARY.get((operator as { value: string }).value);
    return mended === undefined ? null : mended(this.evaluate(left, environment), this.evaluate(right, environment));
  }

  #filter({ operand, filter }: Node, environment: Environment): Value | null {
    const { type, value, callee, args } = filter as Node;
    const name = (type === "CallExpression" ? (callee as Node).value : value) as string;
    const mended = FILTERS.get(name);
    if (mended === undefined) return null;
    const on = this.evaluate(operand, environment);
    const [positional, named] = type === "CallExpression" ? this.evaluateArguments(args, environment) : [[], new Map<string, Value>()];
    const result = mended(on, { positional, named });
    // What is not mended for such a value is the library's.
    return result === undefined ? null : valueIn(result);
  }

  #test({ operand, test, negate }: Node, environment: Environment): Value | null {
    if ((test as Node).value !== "iterable") return null;
    const value = this.evaluate(operand, environment);
    return valueOf((isList(value) || isString(value) || isMapping(value) || isUndefined(value)) !== negate);
  }

  #call({ callee, args }: Node, environment: Environment): Value | null {
    const { type, object, property, computed } = callee as Node;
    if (type !== "MemberExpression" || computed === true) return null;
    const name = (property as Node).value as string;
    if (name === "cycle" && (object as Node).value === "loop") return this.#cycled(args, environment);
    if (!STRING_METHODS.has(name) && !MAPPING_METHODS.has(name)) return null;
    const on = this.evaluate(object, environment);
    if (isString(on) && STRING_METHODS.has(name)) return callMethod(name, on.value, this.#arguments(args, environment));
    if (!isMapping(on) || !MAPPING_METHODS.has(name)) return null;
    const method = on.builtins.get(name) as unknown as Callable;
    return method.value(this.#arguments(args, environment).positional, environment);
  }

  /** `loop.cycle`. */
  #cycled(args: unknown, environment: Environment): Value | null {
    const loop = environment.lookupVariable("loop");
    const { positional } = this.#arguments(args, environment);
    const index = isMapping(loop) ? loop.value.get("index0") : undefined;
    return index === undefined || positional.length === 0 ? null : positional[Number(index.value) % positional.length];
  }

  #arguments(args: unknown, environment: Environment): Arguments {
    const [positional, named] = this.evaluateArguments(args, environment);
    return { positional, named };
  }
}

/** Filters give values, or what values are made from. */
function valueIn(result: unknown): Value {
  return typeof result === "object" && result !== null && "builtins" in result ? result as Value : valueOf(result);
}

/** In English whatever the host speaks, as Python does unless it is told otherwise. */
function strftime(date: Date, format: string): string {
  const pad = (value: number) => String(value).padStart(2, "0");
  const named = (options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat("en-US", options).format(date);
  const parts: Record<string, () => string> = {
    Y: () => String(date.getFullYear()),
    y: () => pad(date.getFullYear() % 100),
    m: () => pad(date.getMonth() + 1),
    d: () => pad(date.getDate()),
    H: () => pad(date.getHours()),
    M: () => pad(date.getMinutes()),
    S: () => pad(date.getSeconds()),
    b: () => named({ month: "short" }),
    B: () => named({ month: "long" }),
    a: () => named({ weekday: "short" }),
    A: () => named({ weekday: "long" }),
    "%": () => "%",
  };
  return format.replace(/%([YymdHMSbBaA%])/g, (_, letter) => parts[letter]());
}
