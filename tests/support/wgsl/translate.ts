/**
 * Makes JavaScript of a shader: a generator for every thread, which yields where it waits for others.
 *
 * @module
 */
import { arithmetic, type Code, concrete, map, numberOf, unify, vectorOf, zeroOf } from "./code.ts";
import { HELPERS } from "./helpers.ts";
import type { Expression, FunctionSyntax, Shader, Statement, TypeSyntax } from "./syntax.ts";
import { alignOf, elementOf, NONE, type Scalar, scalar, sizeOf, type Type, withElement } from "./types.ts";

/** What a thread waits for. */
export type Wait =
  | { readonly kind: "barrier" }
  | { readonly kind: "shuffle"; readonly value: number; readonly distance: number }
  | { readonly kind: "load"; readonly place: MatrixPlace }
  | { readonly kind: "store"; readonly place: MatrixPlace; readonly matrix: Matrix }
  | { readonly kind: "multiply"; readonly left: Matrix; readonly right: Matrix; readonly sums: Matrix };

/** Where a matrix lies: bytes. */
export interface MatrixPlace {
  readonly memory: string;
  readonly offset: number;
  readonly stride: number;
  readonly columnMajor: boolean;
  readonly type: "f16" | "f32";
}

/** 16 rows of 16 values. */
export type Matrix = Float32Array;

/** A place in memory: its name, and JavaScript that computes the byte. */
interface Place {
  readonly memory: string;
  readonly offset: string;
  readonly type: Type;
}

/** A translated shader. */
export interface Translation {
  /** JavaScript of a function body that gets `$` (see `emulated_device.ts`) and returns the generator function of a thread. */
  readonly code: string;
  readonly workgroupBytes: ReadonlyMap<string, number>;
  /** Names of the bindings, from the first. */
  readonly bindings: readonly string[];
}

const WAITING = new Set([
  "workgroupBarrier",
  "workgroupUniformLoad",
  "subgroupShuffleXor",
  "subgroupMatrixLoad",
  "subgroupMatrixStore",
  "subgroupMatrixMultiplyAccumulate",
]);

/** Translates. @param evaluate computes a constant expression */
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

  constructor(shader: Shader) {
    this.#shader = shader;
  }

  translate(): Translation {
    const lines: string[] = [];
    for (const { name, type, value } of this.#shader.constants) {
      const given = this.#expression(value);
      const as = type === null ? given : this.#convert(given, this.#type(type));
      lines.push(`const ${name} = ${as.code};`);
      this.#globals.set(name, { code: name, type: as.type });
      this.#values.set(name, new Function(`${HELPERS}${lines.join("\n")}; return ${name};`)());
    }
    for (const assertion of this.#shader.assertions) {
      if (this.#constant<boolean>(assertion) !== true) throw new TypeError("An assertion of the shader does not hold");
    }
    const workgroupBytes = new Map<string, number>();
    const bindings: string[] = [];
    for (const { name, space, type, binding } of this.#shader.variables) {
      const of = this.#type(type);
      if (space === "uniform") {
        this.#globals.set(name, { code: "$.params", type: of });
        continue;
      }
      this.#memories.set(name, of);
      lines.push(`const $m_${name} = $.memories.get("${name}");`);
      if (space === "workgroup") workgroupBytes.set(name, Math.ceil(sizeOf(of) / 4) * 4);
      else bindings[binding - 1] = name;
    }
    const { functions } = this.#shader;
    for (const { name, parameters, result, body } of functions) {
      this.#functions.set(name, {
        result: result === null ? NONE : this.#type(result),
        waits: this.#waits(body),
        parameters: parameters.map(({ type }) => this.#type(type)),
      });
    }
    for (const one of functions) lines.push(this.#function(one));
    const main = functions.find(({ workgroupSize }) => workgroupSize !== null)!;
    lines.push(`return { threads: ${this.#expression(main.workgroupSize!).code}, run: ${main.name} };`);
    return { code: HELPERS + lines.join("\n"), workgroupBytes, bindings };
  }

  #waits(body: readonly Statement[]): boolean {
    const inExpression = (e: Expression | null): boolean => {
      if (e === null) return false;
      switch (e.kind) {
        case "call":
          return WAITING.has(e.name) || this.#functions.get(e.name)?.waits === true || e.values.some(inExpression);
        case "member":
        case "unary":
          return inExpression(e.of);
        case "index":
          return inExpression(e.of) || inExpression(e.at);
        case "binary":
          return inExpression(e.left) || inExpression(e.right);
        default:
          return false;
      }
    };
    return body.some((s): boolean => {
      switch (s.kind) {
        case "declare":
        case "return":
          return inExpression(s.value);
        case "assign":
          return inExpression(s.value) || inExpression(s.to);
        case "call":
          return inExpression(s.call);
        case "if":
          return inExpression(s.condition) || this.#waits(s.then) || this.#waits(s.else);
        case "for":
          return inExpression(s.condition) || this.#waits(s.body);
        case "block":
          return this.#waits(s.body);
        default:
          return false;
      }
    });
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
        const { code, type: of } = concrete(type === null || s.value === null ? value : this.#convert(value, type));
        return `let ${this.#declare(s.name, of)} = ${of.kind === "vector" ? `(${code}).slice()` : code};`;
      }
      case "assign":
        return this.#assign(
          s.to,
          s.operator === "" ? this.#expression(s.value) : this.#binary(s.operator, this.#expression(s.to), this.#expression(s.value)),
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
        return s.value === null ? "return;" : `return ${this.#convert(this.#expression(s.value), result).code};`;
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
      const { code } = this.#convert(value, place.type);
      if (place.type.kind === "scalar") return `$m_${place.memory}.store("${place.type.of}", ${place.offset}, ${code}, $t);`;
      if (place.type.kind === "vector") return `$m_${place.memory}.storeVector("${place.type.of}", ${place.offset}, ${code}, $t);`;
      throw new SyntaxError(`Cannot store a ${place.type.kind}`);
    }
    const target = this.#expression(to);
    const { code } = this.#convert(value, target.type);
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
        return this.#binary(e.operator, this.#expression(e.left), this.#expression(e.right));
      case "call":
        return this.#call(e);
      default:
        return e satisfies never;
    }
  }

  #binary(operator: string, a: Code, b: Code): Code {
    const [left, right] = unify(a, b);
    const of = elementOf(left.type);
    const type = left.type.kind === "vector" ? left.type : right.type;
    if (["==", "!=", "<", ">", "<=", ">="].includes(operator)) {
      return map([left, right], withElement(type, "bool"), (x, y) => `(${x} ${operator}${operator === "==" || operator === "!=" ? "=" : ""} ${y})`);
    }
    if (operator === "&&" || operator === "||") return { code: `(${left.code} ${operator} ${right.code})`, type: scalar("bool") };
    return map([left, right], type, (x, y) => arithmetic(operator, of, x, y));
  }

  #convert({ code, type }: Code, to: Type): Code {
    if (type.kind === "scalar" && to.kind === "scalar" && (type.of === "int" || type.of === "float")) {
      return { code: to.of === "f32" ? `Math.fround(${code})` : code, type: to };
    }
    if (type.kind === "vector" && to.kind === "vector" && (type.of === "int" || type.of === "float")) return { code, type: to };
    return { code, type };
  }

  #call({ name, parameters, values }: Extract<Expression, { kind: "call" }>): Code {
    const known = this.#functions.get(name);
    if (known !== undefined) {
      const given = values.map((value, i) => this.#convert(this.#expression(value), known.parameters[i]).code);
      const call = `${name}(${["$t", ...given].join(", ")})`;
      return { code: known.waits ? `(yield* ${call})` : call, type: known.result };
    }
    const special = this.#matrixCall(name, parameters, values) ?? this.#atomicCall(name, values);
    if (special !== null) return special;
    const a = values.map((value) => this.#expression(value));
    const vector = /^vec([234])$/.exec(name);
    if (vector !== null) {
      return vectorOf(Number(vector[1]), parameters.length === 0 ? null : (this.#type(parameters[0] as TypeSyntax) as { of: Scalar }).of, a);
    }
    const struct = this.#shader.structs.has(name) || this.#shader.aliases.has(name) ? this.#type({ name, parameters: [] }) : null;
    if (struct?.kind === "matrix") return zeroOf(struct);
    if (struct?.kind === "struct") {
      const members = struct.members.map(({ name, type }, i) => `${name}: ${this.#convert(a[i], type).code}`);
      return { code: `({ ${members.join(", ")} })`, type: struct };
    }
    switch (name) {
      case "u32":
        return a[0].type.kind === "scalar" && a[0].type.of === "bool"
          ? { code: `(${a[0].code} ? 1 : 0)`, type: scalar("u32") }
          : { code: `(Math.trunc(${a[0].code}) >>> 0)`, type: scalar("u32") };
      case "f32":
        return { code: `Math.fround(${a[0].code})`, type: scalar("f32") };
      case "min":
      case "max": {
        const [x, y] = unify(a[0], a[1]);
        return map([x, y], x.type, (p, q) => `Math.${name}(${p}, ${q})`);
      }
      case "clamp": {
        const [x, low] = unify(a[0], a[1]);
        const [, high] = unify(x, a[2]);
        return map([x, low, high], x.type, (p, q, r) => `Math.min(Math.max(${p}, ${q}), ${r})`);
      }
      case "abs":
        return map(a, a[0].type, (p) => `Math.abs(${p})`);
      case "exp2":
        return map(a, a[0].type, (p) => `Math.fround(2 ** ${p})`);
      case "exp":
        return map(a, a[0].type, (p) => `Math.fround(Math.exp(${p}))`);
      case "fma": {
        const [x, y] = unify(a[0], a[1]);
        const [, z] = unify(x, a[2]);
        return map([x, y, z], x.type, (p, q, r) => `Math.fround(${p} * ${q} + ${r})`);
      }
      case "select": {
        const [no, yes] = unify(a[0], a[1]);
        return map([no, yes, a[2]], no.type, (p, q, r) => `(${r} ? ${q} : ${p})`);
      }
      case "countOneBits":
        return map(a, a[0].type, (p) => `$bits(${p})`);
      case "pack2x16float":
        return { code: `$pack(${a[0].code})`, type: scalar("u32") };
      case "unpack2x16float":
        return { code: `$unpack(${a[0].code})`, type: { kind: "vector", of: "f32", size: 2 } };
      case "bitcast": {
        const to = this.#type(parameters[0] as TypeSyntax);
        const from = elementOf(a[0].type);
        const of = elementOf(to);
        if (from === of || (from !== "f32" && of !== "f32")) return { code: a[0].code, type: to };
        return map(a, to, (p) => of === "f32" ? `$asFloat(${p})` : `$asBits(${p})`);
      }
      case "workgroupBarrier":
        return { code: `(yield { kind: "barrier" })`, type: NONE };
      case "subgroupShuffleXor":
        return { code: `(yield { kind: "shuffle", value: ${a[0].code}, distance: ${a[1].code} })`, type: a[0].type };
    }
    throw new SyntaxError(`There is no function ${name}`);
  }

  #atomicCall(name: string, [of, value]: readonly Expression[]): Code | null {
    if (!name.startsWith("atomic")) return null;
    const { memory, offset, type } = this.#place(of)!;
    const given = value === undefined ? "0" : this.#convert(this.#expression(value), type).code;
    switch (name) {
      case "atomicLoad":
      case "atomicAdd":
        return { code: `$m_${memory}.add(${offset}, ${given})`, type };
      case "atomicStore":
        return { code: `$m_${memory}.u32[(${offset}) / 4] = ${given}`, type: NONE };
    }
    throw new SyntaxError(`There is no function ${name}`);
  }

  #matrixCall(name: string, parameters: readonly (TypeSyntax | Expression)[], values: readonly Expression[]): Code | null {
    const place = (to: Expression, offset: Expression, stride: Expression, of: "f16" | "f32", order: string) => {
      const { memory, offset: base, type } = this.#place(to)!;
      if (type.kind !== "array") throw new SyntaxError("Matrices are loaded from arrays");
      const bytes = sizeOf(type.of);
      const at = `${base} + ${bytes} * (${this.#expression(offset).code})`;
      return `{ memory: "${memory}", offset: ${at}, stride: ${bytes} * (${this.#expression(stride).code}), columnMajor: ${
        order === "col_major"
      }, type: "${of}" }`;
    };
    const order = (i: number) => (parameters[i] as TypeSyntax).name;
    switch (name) {
      case "workgroupUniformLoad": {
        const of: Expression = values[0].kind === "unary" ? values[0].of : values[0];
        const { code, type } = this.#expression(of);
        return { code: `(yield { kind: "barrier" }, $uniform(${code}, yield { kind: "barrier" }))`, type };
      }
      case "subgroupMatrixLoad": {
        const type = this.#type(parameters[0] as TypeSyntax) as Extract<Type, { kind: "matrix" }>;
        return { code: `(yield { kind: "load", place: ${place(values[0], values[1], values[2], type.of, order(1))} })`, type };
      }
      case "subgroupMatrixStore": {
        const matrix = this.#expression(values[2]);
        const { of } = matrix.type as Extract<Type, { kind: "matrix" }>;
        const to = place(values[0], values[1], values[3], of, order(0));
        return { code: `(yield { kind: "store", place: ${to}, matrix: ${matrix.code} })`, type: NONE };
      }
      case "subgroupMatrixMultiplyAccumulate": {
        const [left, right, sums] = values.map((value) => this.#expression(value));
        return { code: `(yield { kind: "multiply", left: ${left.code}, right: ${right.code}, sums: ${sums.code} })`, type: sums.type };
      }
    }
    return name.startsWith("subgroup_matrix_") ? zeroOf(this.#type({ name, parameters })) : null;
  }
}

function component({ memory, offset, type }: Place, at: string): Place {
  const { of } = type as Extract<Type, { kind: "vector" }>;
  return { memory, offset: `${offset} + 4 * (${at})`, type: scalar(of) };
}
