/**
 * Makes JavaScript of a shader: a generator for every thread, which yields where it waits for others.
 *
 * @module
 */
import { builtinCall } from "./builtins.ts";
import { binary, type Code, concrete, convert, map, numberOf, vectorOf, zeroOf } from "./code.ts";
import { HELPERS } from "./helpers.ts";
import { type Around, atomicCall, matrixCall, type Place } from "./memory_calls.ts";
import type { Expression, FunctionSyntax, Shader, Statement, TypeSyntax } from "./syntax.ts";
import { alignOf, NONE, type Scalar, scalar, sizeOf, type Type } from "./types.ts";
import { waits } from "./waits.ts";

/** A translated shader. */
export interface Translation {
  /** JavaScript of a function body that returns the generator function of a thread, and what gives it memory and parameters (see `emulated_device.ts`). */
  readonly code: string;
  readonly workgroupBytes: ReadonlyMap<string, number>;
  /** Names of the bindings, from the first. */
  readonly bindings: readonly string[];
}

/** Translates. @throws {SyntaxError} at what this does not know */
export function translate(shader: Shader): Translation {
  return new Translator(shader).translate();
}

class Translator {
  readonly #shader: Shader;
  readonly #globals = new Map<string, Code>();
  readonly #values = new Map<string, number | boolean>();
  readonly #structs = new Map<string, Type>();
  readonly #memories = new Map<string, Type>();
  readonly #functions = new Map<string, { readonly result: Type; readonly waits: boolean; readonly parameters: readonly Type[] }>();
  #scopes: Map<string, { readonly name: string; readonly type: Type }>[] = [];
  #names = 0;
  readonly #around: Around = {
    place: (e) => this.#place(e),
    expression: (e) => this.#expression(e),
    type: (syntax) => this.#type(syntax),
  };

  constructor(shader: Shader) {
    this.#shader = shader;
  }

  translate(): Translation {
    const lines: string[] = [];
    for (const { name, type, value } of this.#shader.constants) {
      const given = this.#expression(value);
      const as = type === null ? given : convert(given, this.#type(type));
      lines.push(`const ${name} = ${as.code};`);
      this.#globals.set(name, { code: name, type: as.type });
      this.#values.set(name, new Function(`${HELPERS}${lines.join("\n")}; return ${name};`)());
    }
    for (const assertion of this.#shader.assertions) {
      if (this.#constant<boolean>(assertion) !== true) throw new TypeError("An assertion of the shader does not hold");
    }
    const workgroupBytes = new Map<string, number>();
    const bindings: string[] = [];
    const given = ["$ = now;"];
    for (const { name, space, type, binding } of this.#shader.variables) {
      const of = this.#type(type);
      if (space === "uniform") {
        this.#globals.set(name, { code: "$.params", type: of });
        continue;
      }
      this.#memories.set(name, of);
      lines.push(`let $m_${name};`);
      given.push(`$m_${name} = $.memories.get("${name}");`);
      if (space === "workgroup") workgroupBytes.set(name, Math.ceil(sizeOf(of) / 4) * 4);
      else bindings[binding - 1] = name;
    }
    const { functions } = this.#shader;
    for (const { name, parameters, result, body } of functions) {
      this.#functions.set(name, {
        result: result === null ? NONE : this.#type(result),
        waits: waits(body, (name) => this.#functions.get(name)?.waits === true),
        parameters: parameters.map(({ type }) => this.#type(type)),
      });
    }
    for (const one of functions) lines.push(this.#function(one));
    const main = functions.find(({ workgroupSize }) => workgroupSize !== null)!;
    const give = `give(now) { ${given.join(" ")} }`;
    lines.push(`return { threads: ${this.#expression(main.workgroupSize!).code}, run: ${main.name}, ${give} };`);
    return { code: `let $; ${HELPERS}${lines.join("\n")}`, workgroupBytes, bindings };
  }

  #type({ name, parameters }: TypeSyntax): Type {
    const parameter = (i: number) => this.#type(parameters[i] as TypeSyntax);
    const vector = /^vec([234])$/.exec(name);
    if (vector !== null) return { kind: "vector", of: (parameter(0) as { of: Scalar }).of, size: Number(vector[1]) };
    switch (name) {
      case "u32":
      case "i32":
      case "f32":
      case "f16":
      case "bool":
        return scalar(name);
      case "atomic":
        return parameter(0);
      case "array": {
        const [, count] = parameters;
        return { kind: "array", of: parameter(0), count: count === undefined ? null : this.#constant(count) };
      }
      case "subgroup_matrix_left":
      case "subgroup_matrix_right":
      case "subgroup_matrix_result":
        return { kind: "matrix", of: (parameters[0] as TypeSyntax).name as "f16" | "f32" };
    }
    const alias = this.#shader.aliases.get(name);
    if (alias !== undefined) return this.#type(alias);
    const known = this.#structs.get(name);
    if (known !== undefined) return known;
    const members = this.#shader.structs.get(name);
    if (members === undefined) throw new SyntaxError(`There is no type ${name}`);
    let offset = 0;
    const laidOut = members.map(({ name, type }) => {
      const of = this.#type(type);
      offset = Math.ceil(offset / alignOf(of)) * alignOf(of);
      const member = { name, type: of, offset };
      offset += sizeOf(of);
      return member;
    });
    const struct: Type = { kind: "struct", name, members: laidOut };
    this.#structs.set(name, struct);
    return struct;
  }

  /** A name by itself may have been read as a type. */
  #constant<T = number>(of: TypeSyntax | Expression): T {
    const expression: Expression = "kind" in of ? of : { kind: "name", name: of.name };
    const values = [...this.#values].map(([name, value]) => `const ${name} = ${value};`).join("");
    return new Function(`${HELPERS}${values} return ${this.#expression(expression).code};`)();
  }

  #function({ name, parameters, body }: FunctionSyntax): string {
    const { waits, result } = this.#functions.get(name)!;
    this.#scopes = [new Map()];
    const names = parameters.map(({ name, type, builtin }) => ({ js: this.#declare(name, this.#type(type)), builtin }));
    const builtins = names.filter(({ builtin }) => builtin !== null);
    const given = builtins.length > 0 ? ["$builtins"] : names.map(({ js }) => js);
    const prologue = builtins.map(({ js, builtin }) => `const ${js} = $builtins.${builtin};`).join("\n");
    const code = `function${waits || builtins.length > 0 ? "*" : ""} ${name}(${["$t", ...given].join(", ")}) {\n${prologue}\n${
      this.#block(body, result)
    }}`;
    this.#scopes = [];
    return code;
  }

  #declare(name: string, type: Type): string {
    const js = `${name}$${this.#names++}`;
    this.#scopes.at(-1)!.set(name, { name: js, type });
    return js;
  }

  #block(body: readonly Statement[], result: Type): string {
    this.#scopes.push(new Map());
    const code = body.map((statement) => this.#statement(statement, result)).join("\n");
    this.#scopes.pop();
    return code + "\n";
  }

  #statement(s: Statement, result: Type): string {
    switch (s.kind) {
      case "declare": {
        const type = s.type === null ? null : this.#type(s.type);
        const value = s.value === null ? zeroOf(type!) : this.#expression(s.value);
        const { code, type: of } = concrete(type === null || s.value === null ? value : convert(value, type));
        return `let ${this.#declare(s.name, of)} = ${of.kind === "vector" ? `(${code}).slice()` : code};`;
      }
      case "assign":
        return this.#assign(
          s.to,
          s.operator === "" ? this.#expression(s.value) : binary(s.operator, this.#expression(s.to), this.#expression(s.value)),
        );
      case "call":
        return `${this.#expression(s.call).code};`;
      case "if": {
        const rest = s.else.length === 0 ? "" : ` else {\n${this.#block(s.else, result)}}`;
        return `if (${this.#expression(s.condition).code}) {\n${this.#block(s.then, result)}}${rest}`;
      }
      case "for": {
        this.#scopes.push(new Map());
        const first = s.first === null ? "" : this.#statement(s.first, result);
        const condition = s.condition === null ? "true" : this.#expression(s.condition).code;
        const next = s.next === null ? "" : this.#statement(s.next, result).replace(/;$/, "");
        const code = `{ ${first} for (; ${condition}; ${next}) {\n${this.#block(s.body, result)}} }`;
        this.#scopes.pop();
        return code;
      }
      case "block":
        return `{\n${this.#block(s.body, result)}}`;
      case "return":
        return s.value === null ? "return;" : `return ${convert(this.#expression(s.value), result).code};`;
      case "break":
      case "continue":
        return `${s.kind};`;
      default:
        return s satisfies never;
    }
  }

  #assign(to: Expression, value: Code): string {
    const place = this.#place(to);
    if (place !== null) {
      const { code } = convert(value, place.type);
      if (place.type.kind === "scalar") return `$m_${place.memory}.store("${place.type.of}", ${place.offset}, ${code}, $t);`;
      if (place.type.kind === "vector") return `$m_${place.memory}.storeVector("${place.type.of}", ${place.offset}, ${code}, $t);`;
      throw new SyntaxError(`Cannot store a ${place.type.kind}`);
    }
    const target = this.#expression(to);
    const { code } = convert(value, target.type);
    return `${target.code} = ${target.type.kind === "vector" ? `(${code}).slice()` : code};`;
  }

  /** A place in memory; null for what threads have of their own. */
  #place(e: Expression): Place | null {
    if (e.kind === "name") {
      if (this.#scopes.some((scope) => scope.has(e.name))) return null;
      const type = this.#memories.get(e.name);
      return type === undefined ? null : { memory: e.name, offset: "0", type };
    }
    if (e.kind === "unary" && e.operator === "&") return this.#place(e.of);
    if (e.kind === "member") {
      const of = this.#place(e.of);
      if (of === null || of.type.kind !== "struct") return of?.type.kind === "vector" ? component(of, "xyzw".indexOf(e.name).toString()) : null;
      const member = of.type.members.find(({ name }) => name === e.name)!;
      return { memory: of.memory, offset: `${of.offset} + ${member.offset}`, type: member.type };
    }
    if (e.kind === "index") {
      const of = this.#place(e.of);
      if (of === null) return null;
      const at = this.#expression(e.at).code;
      if (of.type.kind === "vector") return component(of, at);
      if (of.type.kind !== "array") throw new SyntaxError("Only arrays and vectors have elements");
      const { count } = of.type;
      const index = count === null ? at : `$within(${at}, ${count}, "${of.memory}")`;
      return { memory: of.memory, offset: `${of.offset} + ${sizeOf(of.type.of)} * (${index})`, type: of.type.of };
    }
    return null;
  }

  #expression(e: Expression): Code {
    const place = e.kind === "name" || e.kind === "member" || e.kind === "index" ? this.#place(e) : null;
    if (place !== null) {
      if (place.type.kind === "scalar") return { code: `$m_${place.memory}.load("${place.type.of}", ${place.offset}, $t)`, type: place.type };
      if (place.type.kind === "vector") {
        const { of, size } = place.type;
        return { code: `$m_${place.memory}.loadVector("${of}", ${size}, ${place.offset}, $t)`, type: place.type };
      }
      throw new SyntaxError(`Cannot load a ${place.type.kind}`);
    }
    switch (e.kind) {
      case "number":
        return numberOf(e.text);
      case "name": {
        if (e.name === "true" || e.name === "false") return { code: e.name, type: scalar("bool") };
        for (const scope of this.#scopes.toReversed()) {
          const found = scope.get(e.name);
          if (found !== undefined) return { code: found.name, type: found.type };
        }
        const global = this.#globals.get(e.name);
        if (global === undefined) throw new SyntaxError(`There is no ${e.name}`);
        return global;
      }
      case "member": {
        const of = this.#expression(e.of);
        if (of.type.kind === "struct") return { code: `${of.code}.${e.name}`, type: of.type.members.find(({ name }) => name === e.name)!.type };
        if (of.type.kind !== "vector") throw new SyntaxError(`.${e.name} of a ${of.type.kind}`);
        const picked = [...e.name].map((letter) => Math.max("xyzw".indexOf(letter), "rgba".indexOf(letter)));
        if (picked.length === 1) return { code: `${of.code}[${picked[0]}]`, type: scalar(of.type.of) };
        return { code: `$pick(${of.code}, [${picked}])`, type: { kind: "vector", of: of.type.of, size: picked.length } };
      }
      case "index": {
        const of = this.#expression(e.of);
        if (of.type.kind !== "vector") throw new SyntaxError("Only vectors and memory can be indexed");
        return { code: `${of.code}[${this.#expression(e.at).code}]`, type: scalar(of.type.of) };
      }
      case "unary": {
        const of = this.#expression(e.of);
        if (e.operator === "!") return map([of], of.type, (a) => `!${a}`);
        if (e.operator === "~") return map([of], of.type, (a) => `(~${a} >>> 0)`);
        return map([of], of.type, (a) => `(-${a})`);
      }
      case "binary":
        return binary(e.operator, this.#expression(e.left), this.#expression(e.right));
      case "call":
        return this.#call(e);
      default:
        return e satisfies never;
    }
  }

  #call({ name, parameters, values }: Extract<Expression, { kind: "call" }>): Code {
    const known = this.#functions.get(name);
    if (known !== undefined) {
      const given = values.map((value, i) => convert(this.#expression(value), known.parameters[i]).code);
      const call = `${name}(${["$t", ...given].join(", ")})`;
      return { code: known.waits ? `(yield* ${call})` : call, type: known.result };
    }
    const special = matrixCall(name, parameters, values, this.#around) ?? atomicCall(name, values, this.#around);
    if (special !== null) return special;
    const a = values.map((value) => this.#expression(value));
    const vector = /^vec([234])$/.exec(name);
    if (vector !== null) {
      return vectorOf(Number(vector[1]), parameters.length === 0 ? null : (this.#type(parameters[0] as TypeSyntax) as { of: Scalar }).of, a);
    }
    const struct = this.#shader.structs.has(name) || this.#shader.aliases.has(name) ? this.#type({ name, parameters: [] }) : null;
    if (struct?.kind === "matrix") return zeroOf(struct);
    if (struct?.kind === "struct") {
      const members = struct.members.map(({ name, type }, i) => `${name}: ${convert(a[i], type).code}`);
      return { code: `({ ${members.join(", ")} })`, type: struct };
    }
    return builtinCall(name, a, () => this.#type(parameters[0] as TypeSyntax));
  }
}

function component({ memory, offset, type }: Place, at: string): Place {
  const { of } = type as Extract<Type, { kind: "vector" }>;
  return { memory, offset: `${offset} + 4 * (${at})`, type: scalar(of) };
}
