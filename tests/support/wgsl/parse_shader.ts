/**
 * Reads shaders, as far as `syntax.ts` goes.
 *
 * @module
 */
import type { Expression, FunctionSyntax, Shader, Statement, TypeSyntax } from "./syntax.ts";

/** Names that a list in angle brackets may follow. */
const TEMPLATES = /^(vec[234]|array|atomic|ptr|bitcast|subgroup_?[mM]atrix\w*)$/;
const TOKEN =
  /\s+|\/\/[^\n]*|(0x[0-9a-fA-F]+[ui]?|\d+\.?\d*(?:e[-+]?\d+)?[uifh]?|\.\d+f?|[A-Za-z_]\w*|->|&&|\|\||<<=|>>=|<<|>>|[-+*/%&|^=!<>]=|\+\+|--|.)/gy;
const PRECEDENCE: readonly (readonly string[])[] = [
  ["||"],
  ["&&"],
  ["|"],
  ["^"],
  ["&"],
  ["==", "!="],
  ["<", ">", "<=", ">="],
  ["<<", ">>"],
  ["+", "-"],
  ["*", "/", "%"],
];

/** Parses a shader. @throws {SyntaxError} at what this does not know */
export function parseShader(source: string): Shader {
  return new Parser(source).shader();
}

class Parser {
  readonly #tokens: string[] = [];
  #at = 0;

  constructor(source: string) {
    for (const [, token] of source.matchAll(new RegExp(TOKEN.source, "g"))) if (token !== undefined) this.#tokens.push(token);
  }

  shader(): Shader {
    const constants: Shader["constants"][number][] = [];
    const assertions: Expression[] = [];
    const aliases = new Map<string, TypeSyntax>();
    const structs = new Map<string, { name: string; type: TypeSyntax }[]>();
    const variables: Shader["variables"][number][] = [];
    const functions: FunctionSyntax[] = [];
    while (this.#at < this.#tokens.length) {
      const attributes = this.#attributes();
      const word = this.#next();
      if (word === "enable") {
        while (this.#next() !== ";");
      } else if (word === "const") {
        const name = this.#next();
        const type = this.#takes(":") ? this.#type() : null;
        this.#expect("=");
        constants.push({ name, type, value: this.#expression() });
        this.#expect(";");
      } else if (word === "const_assert") {
        assertions.push(this.#expression());
        this.#expect(";");
      } else if (word === "alias") {
        const name = this.#next();
        this.#expect("=");
        aliases.set(name, this.#type());
        this.#expect(";");
      } else if (word === "struct") {
        const name = this.#next();
        const members: { name: string; type: TypeSyntax }[] = [];
        this.#expect("{");
        while (!this.#takes("}")) {
          const member = this.#next();
          this.#expect(":");
          members.push({ name: member, type: this.#type() });
          this.#takes(",");
        }
        this.#takes(";");
        structs.set(name, members);
      } else if (word === "var") {
        this.#expect("<");
        const space = this.#next();
        while (!this.#takes(">")) this.#next();
        const name = this.#next();
        this.#expect(":");
        const binding = attributes.get("binding");
        variables.push({ name, space, type: this.#type(), binding: binding === undefined ? -1 : Number((binding as { text: string }).text) });
        this.#expect(";");
      } else if (word === "fn") {
        functions.push(this.#function(attributes.get("workgroup_size") ?? null));
      } else this.#fail(word);
    }
    return { constants, assertions, aliases, structs, variables, functions };
  }

  #function(workgroupSize: Expression | null): FunctionSyntax {
    const name = this.#next();
    const parameters: { name: string; type: TypeSyntax; builtin: string | null }[] = [];
    this.#expect("(");
    while (!this.#takes(")")) {
      const builtin = this.#attributes().get("builtin");
      const parameter = this.#next();
      this.#expect(":");
      parameters.push({ name: parameter, type: this.#type(), builtin: builtin?.kind === "name" ? builtin.name : null });
      this.#takes(",");
    }
    const result = this.#takes("->") ? this.#type() : null;
    return { name, parameters, result, body: this.#block(), workgroupSize };
  }

  #attributes(): Map<string, Expression> {
    const found = new Map<string, Expression>();
    while (this.#takes("@")) {
      const name = this.#next();
      if (!this.#takes("(")) {
        found.set(name, { kind: "number", text: "1" });
        continue;
      }
      found.set(name, this.#expression());
      this.#expect(")");
    }
    return found;
  }

  #type(): TypeSyntax {
    const name = this.#next();
    return { name, parameters: this.#peek() === "<" ? this.#templateList() : [] };
  }

  #templateList(): (TypeSyntax | Expression)[] {
    const list: (TypeSyntax | Expression)[] = [];
    this.#expect("<");
    while (!this.#takes(">")) {
      // A type, or a length, in which a closing bracket is never an operator.
      const token = this.#peek();
      if (/^[A-Za-z_]/.test(token) && [",", ">", "<"].includes(this.#tokens[this.#at + 1])) list.push(this.#type());
      else list.push(this.#expression(8));
      this.#takes(",");
    }
    return list;
  }

  #block(): Statement[] {
    const statements: Statement[] = [];
    this.#expect("{");
    while (!this.#takes("}")) statements.push(this.#statement());
    return statements;
  }

  #statement(): Statement {
    const token = this.#peek();
    if (token === "{") return { kind: "block", body: this.#block() };
    if (token === ";") {
      this.#next();
      return { kind: "block", body: [] };
    }
    if (token === "if") return this.#if();
    if (token === "for") return this.#for();
    const statement = this.#simple();
    this.#expect(";");
    return statement;
  }

  #if(): Statement {
    this.#expect("if");
    const condition = this.#expression();
    const then = this.#block();
    if (!this.#takes("else")) return { kind: "if", condition, then, else: [] };
    return { kind: "if", condition, then, else: this.#peek() === "if" ? [this.#if()] : this.#block() };
  }

  #for(): Statement {
    this.#expect("for");
    this.#expect("(");
    const first = this.#peek() === ";" ? null : this.#simple();
    this.#expect(";");
    const condition = this.#peek() === ";" ? null : this.#expression();
    this.#expect(";");
    const next = this.#peek() === ")" ? null : this.#simple();
    this.#expect(")");
    return { kind: "for", first, condition, next, body: this.#block() };
  }

  #simple(): Statement {
    const token = this.#peek();
    if (token === "let" || token === "var" || token === "const") {
      this.#next();
      const name = this.#next();
      const type = this.#takes(":") ? this.#type() : null;
      return { kind: "declare", how: token, name, type, value: this.#takes("=") ? this.#expression() : null };
    }
    if (token === "return") {
      this.#next();
      return { kind: "return", value: this.#peek() === ";" ? null : this.#expression() };
    }
    if (token === "break" || token === "continue") {
      this.#next();
      return { kind: token };
    }
    const to = this.#expression();
    const operator = this.#peek();
    if (operator === "++" || operator === "--") {
      this.#next();
      return { kind: "assign", to, operator: operator[0], value: { kind: "number", text: "1" } };
    }
    if (operator.endsWith("=") && operator !== "==") {
      this.#next();
      return { kind: "assign", to, operator: operator.slice(0, -1), value: this.#expression() };
    }
    return { kind: "call", call: to };
  }

  #expression(level = 0): Expression {
    if (level === PRECEDENCE.length) return this.#unary();
    let left = this.#expression(level + 1);
    while (PRECEDENCE[level].includes(this.#peek())) {
      const operator = this.#next();
      left = { kind: "binary", operator, left, right: this.#expression(level + 1) };
    }
    return left;
  }

  #unary(): Expression {
    const token = this.#peek();
    if (["-", "!", "~", "&"].includes(token)) {
      this.#next();
      return { kind: "unary", operator: token, of: this.#unary() };
    }
    return this.#postfix(this.#primary());
  }

  #postfix(of: Expression): Expression {
    if (this.#takes(".")) return this.#postfix({ kind: "member", of, name: this.#next() });
    if (this.#takes("[")) {
      const at = this.#expression();
      this.#expect("]");
      return this.#postfix({ kind: "index", of, at });
    }
    return of;
  }

  #primary(): Expression {
    const token = this.#next();
    if (token === "(") {
      const inner = this.#expression();
      this.#expect(")");
      return inner;
    }
    if (/^[.\d]/.test(token)) return { kind: "number", text: token };
    if (!/^[A-Za-z_]/.test(token)) this.#fail(token);
    const parameters = TEMPLATES.test(token) && this.#peek() === "<" ? this.#templateList() : [];
    if (!this.#takes("(")) return { kind: "name", name: token };
    const values: Expression[] = [];
    while (!this.#takes(")")) {
      values.push(this.#expression());
      this.#takes(",");
    }
    return { kind: "call", name: token, parameters, values };
  }

  #peek(): string {
    return this.#tokens[this.#at] ?? "";
  }

  #next(): string {
    return this.#tokens[this.#at++] ?? this.#fail("the end");
  }

  #takes(token: string): boolean {
    // Two lists may end at once.
    if (token === ">" && this.#peek() === ">>") {
      this.#tokens[this.#at] = ">";
      return true;
    }
    if (this.#peek() !== token) return false;
    this.#at++;
    return true;
  }

  #expect(token: string): void {
    const found = this.#next();
    if (found !== token) this.#fail(`${found} where ${token} is due`);
  }

  #fail(what: string): never {
    throw new SyntaxError(`Cannot read ${what} in: ${this.#tokens.slice(Math.max(0, this.#at - 12), this.#at + 6).join(" ")}`);
  }
}
