/**
 * The thread that holds grammars: xgrammar, compiled to WebAssembly. It is one that can be ended when a grammar takes too long.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { createRequire } from "node:module";
import type { CompiledGrammar, GrammarCompiler, GrammarMatcher, StructuralTag, TokenizerInfo } from "@mlc-ai/web-xgrammar";
import { correctGrammar, unusablePattern } from "./schema_grammar.ts";
import type { FromGrammarThread, Grammar, GrammarVocabulary, ToGrammarThread } from "./messages.ts";

/** Compiled grammars that are kept for the next request. */
const MOST_COMPILED = 64;

type XGrammar = typeof import("@mlc-ai/web-xgrammar");

/** The package is a script for browsers or CommonJS, and puts itself where browsers expect it. */
async function loadXGrammar(): Promise<XGrammar> {
  const scope = globalThis as unknown as { require?: unknown; __filename?: string; xgrammar: XGrammar };
  scope.require ??= createRequire(import.meta.url);
  scope.__filename ??= "/xgrammar.js";
  await import("@mlc-ai/web-xgrammar");
  return scope.xgrammar;
}

class Grammars {
  readonly #library: XGrammar;
  readonly #compiler: GrammarCompiler;
  readonly #compiled = new Map<string, CompiledGrammar>();
  readonly #matchers = new Map<number, GrammarMatcher>();

  private constructor(library: XGrammar, compiler: GrammarCompiler) {
    this.#library = library;
    this.#compiler = compiler;
  }

  static async create({ tokens, stopTokens }: GrammarVocabulary): Promise<Grammars> {
    const library = await loadXGrammar();
    const info: TokenizerInfo = await library.TokenizerInfo.createTokenizerInfo([...tokens], "byte_level", false, tokens.length, [...stopTokens]);
    // Its own cache never forgets.
    return new Grammars(library, await library.GrammarCompiler.createGrammarCompiler(info, false));
  }

  async open(id: number, grammar: Grammar, accepted: readonly number[]): Promise<Uint32Array<ArrayBuffer>> {
    const matcher = await this.#library.GrammarMatcher.createGrammarMatcher(await this.#compile(grammar));
    this.#matchers.set(id, matcher);
    for (const token of accepted) if (!matcher.acceptToken(token)) throw new Error(`token ${token} does not fit the grammar`);
    return await maskOf(matcher);
  }

  async accept(id: number, token: number): Promise<Uint32Array<ArrayBuffer>> {
    const matcher = this.#matchers.get(id)!;
    if (!matcher.acceptToken(token)) throw new Error(`token ${token} does not fit the grammar`);
    return await maskOf(matcher);
  }

  close(id: number): void {
    this.#matchers.get(id)?.dispose();
    this.#matchers.delete(id);
  }

  async #compile(grammar: Grammar): Promise<CompiledGrammar> {
    const key = JSON.stringify(grammar);
    const known = this.#compiled.get(key);
    // Deleted and set again, it is the one used last.
    this.#compiled.delete(key);
    const compiled = known ?? await this.#compileNew(grammar);
    this.#compiled.set(key, compiled);
    const [oldest] = this.#compiled.keys();
    if (this.#compiled.size > MOST_COMPILED) {
      this.#compiled.get(oldest)!.dispose();
      this.#compiled.delete(oldest);
    }
    return compiled;
  }

  #compileNew(grammar: Grammar): Promise<CompiledGrammar> {
    switch (grammar.kind) {
      case "json_object":
        // The builtin grammar of JSON would also allow a bare number.
        return this.#compileSchema(`{"type":"object"}`, false);
      case "json_schema":
        return this.#compileSchema(grammar.schema, grammar.strict);
      case "structural_tag":
        return this.#compileTag(JSON.parse(grammar.tag));
      default:
        return grammar satisfies never;
    }
  }

  async #compileSchema(schema: string, strict: boolean): Promise<CompiledGrammar> {
    return await this.#compiler.compileGrammar(await this.#grammarOf(schema, strict));
  }

  /** A schema as EBNF. */
  async #grammarOf(schema: string, strict: boolean): Promise<string> {
    const ebnf = await this.#library.Testings._jsonSchemaToEBNF(schema, true, undefined, undefined, strict, MOST_WHITESPACE);
    const pattern = unusablePattern(JSON.parse(schema));
    if (pattern !== null) throw new Error(`the pattern ${pattern} has quotes or backslashes, which strings hold only escaped`);
    return correctGrammar(ebnf);
  }

  async #compileTag(tag: StructuralTag): Promise<CompiledGrammar> {
    return await this.#compiler.compileStructuralTag(await this.#boundWhitespace(tag) as StructuralTag);
  }

  /** JSON schemas inside of a tag know no bound for white space; written out as grammars they have one. */
  async #boundWhitespace(part: unknown): Promise<unknown> {
    if (Array.isArray(part)) return await Promise.all(part.map((item) => this.#boundWhitespace(item)));
    if (typeof part !== "object" || part === null) return part;
    if ("type" in part && part.type === "json_schema" && "json_schema" in part) {
      const strict = "strict" in part && part.strict === true;
      return { type: "grammar", grammar: await this.#grammarOf(JSON.stringify(part.json_schema), strict) };
    }
    const entries = await Promise.all(Object.entries(part).map(async ([key, value]) => [key, await this.#boundWhitespace(value)]));
    return Object.fromEntries(entries);
  }
}

/** White space in a row that JSON may have: without a bound, a model may write nothing else. */
const MOST_WHITESPACE = 2;

async function maskOf(matcher: GrammarMatcher): Promise<Uint32Array<ArrayBuffer>> {
  // After the end nothing comes, and xgrammar has no mask for that.
  if (matcher.isTerminated()) return new Uint32Array(0);
  return Uint32Array.from(await matcher.getNextTokenBitmask());
}

const scope = self as DedicatedWorkerGlobalScope;
const tell = (message: FromGrammarThread) => scope.postMessage(message);
let grammars: Grammars | null = null;
/** Messages are answered one after the other, in order. */
let last: Promise<void> = Promise.resolve();

async function answer(message: ToGrammarThread): Promise<void> {
  if (message.kind === "vocabulary") {
    grammars = await Grammars.create(message.vocabulary);
    return tell({ kind: "ready" });
  }
  const { kind, id } = message;
  if (kind === "close") return grammars!.close(id);
  try {
    const mask = await (kind === "open" ? grammars!.open(id, message.grammar, message.accepted) : grammars!.accept(id, message.token));
    tell({ kind: "mask", id, mask });
  } catch (error) {
    tell({ kind: "failed", id, message: fatal ?? (error instanceof Error ? error.message : String(error)) });
  }
}

// Refused tokens are reported by their request.
console.warn = () => {};
console.log = () => {};

/** What xgrammar writes before it aborts: `[FATAL] file:line: what is wrong`. */
let fatal: string | null = null;
console.error = (...parts: unknown[]) => {
  const found = /^\[FATAL\] \S+:\d+: (?:Check failed: \(.*?\) is false: )?([^]*)/.exec(parts.join(" "));
  if (found !== null) fatal = found[1].trim().slice(0, 500);
};

scope.onmessage = ({ data }: MessageEvent<ToGrammarThread>) => {
  last = last.then(() => answer(data));
};
