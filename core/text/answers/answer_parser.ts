/**
 * Takes an answer apart as it comes: reasoning, text, tool calls. Nothing is handed out while it may still turn out to be the beginning of a marker.
 *
 * @module
 */
import { StopMatcher } from "../stop.ts";
import { type ArgumentsReader, argumentsReader } from "./arguments_reader.ts";
import type { ArgumentTypes } from "./argument_types.ts";
import { type ReasoningFormat, THINK } from "./reasoning.ts";
import { markerOf, type ToolFormat } from "./tool_format.ts";

/** A part of an answer. */
export type AnswerPart =
  | { readonly kind: "content"; readonly text: string }
  | { readonly kind: "reasoning"; readonly text: string }
  /** A call begins. */
  | { readonly kind: "call"; readonly index: number; readonly name: string }
  /** More of its arguments, which are JSON when all is there. */
  | { readonly kind: "arguments"; readonly index: number; readonly text: string };

/** What an answer may contain. */
export interface AnswerParserOptions {
  /** How calls are written; null: the answer has none. */
  readonly tools: ToolFormat | null;
  /** Whether the model reasons, and whether the prompt has begun that already. */
  readonly reasoning: "no" | "possible" | "begun";
  /** How reasoning is marked; default: `<think>`. */
  readonly marks?: ReasoningFormat;
  /** What arguments may be, by tool, for forms that write texts as they are. */
  readonly types?: Readonly<Record<string, ArgumentTypes>>;
}

/** "start": reasoning may begin; "end": of a call, after its arguments; "between" calls. */
type State = "start" | "text" | "reasoning" | "header" | "arguments" | "end" | "between";

/** Parses one answer. */
export class AnswerParser {
  readonly #options: AnswerParserOptions;
  readonly #marks: ReasoningFormat;
  #state: State;
  #matcher: StopMatcher;
  /** What has come before it is clear whether the answer begins with reasoning. */
  #held = "";
  #header = "";
  #arguments: ArgumentsReader | null = null;
  #calls = 0;
  /** Whether nothing has been said since the last call. */
  #afterCallOnly = false;
  /** White space after reasoning or between calls, which belongs to a text if one follows. */
  #space = "";
  /** Whether the answer has begun with reasoning of its own. */
  #reasoned = false;
  /** Tokens whose text has been handed out as reasoning. */
  #reasoningTokens = 0;
  /** Those whose text may yet be, by how much of it is left. */
  #pending: { tokens: number; length: number }[] = [];
  /** Whether content has begun: what surrounds it is white space until then. */
  #begun = false;

  constructor(options: AnswerParserOptions) {
    this.#options = options;
    this.#marks = options.marks ?? THINK;
    this.#state = ({ begun: "reasoning", possible: "start", no: "text" } as const)[options.reasoning];
    this.#matcher = new StopMatcher(this.#markers());
  }

  /** Whether the answer has called a tool. */
  get called(): boolean {
    return this.#calls > 0;
  }

  /** Whether the answer has come to an end within a call's arguments. */
  get cut(): boolean {
    return this.#state === "arguments";
  }

  /** How many of the tokens that were pushed are reasoning, without what marks it. */
  get reasoningTokens(): number {
    return this.#reasoningTokens;
  }

  /** Parts that became certain with this text. @param tokens that it consists of, if they are to be counted */
  push(text: string, tokens = 0): AnswerPart[] {
    const reasoned = this.#state === "reasoning";
    const parts = this.#push(text);
    this.#pending.push({ tokens, length: text.length });
    this.#count(parts);
    // What was not handed out and is not held back either was a marker.
    if (!reasoned || this.#state !== "reasoning") this.#pending = [];
    return parts;
  }

  /** Counts tokens of which some text has been handed out. */
  #count(parts: readonly AnswerPart[]): void {
    let handed = parts.reduce((sum, part) => sum + (part.kind === "reasoning" ? part.text.length : 0), 0);
    while (handed > 0 && this.#pending.length > 0) {
      const [first] = this.#pending;
      this.#reasoningTokens += first.tokens;
      const taken = Math.min(handed, first.length);
      handed -= taken;
      if (taken === first.length) this.#pending.shift();
      else this.#pending[0] = { tokens: 0, length: first.length - taken };
    }
  }

  #push(text: string): AnswerPart[] {
    const parts: AnswerPart[] = [];
    let rest = text;
    while (rest !== "") {
      if (this.#state === "start") rest = this.#pushStart(rest);
      else if (this.#state === "arguments") rest = this.#pushArguments(rest, parts);
      else rest = this.#pushUntilMarker(rest, parts);
    }
    return parts;
  }

  /** What was held back. */
  finish(): AnswerPart[] {
    const parts: AnswerPart[] = [];
    if (this.#state === "start") this.#handContent(parts, this.#held);
    else if (this.#state === "arguments") this.#handArguments(parts, this.#arguments!.finish());
    // Right after a call, half a marker is the beginning of another one.
    else if (this.#state === "text" && this.#afterCallOnly) return parts;
    else this.#hand(parts, this.#matcher.finish());
    this.#count(parts);
    return parts;
  }

  /** Reasoning begins at the very start of an answer, or is content. @returns what the next state is to see */
  #pushStart(text: string): string {
    const held = this.#held += text;
    const begin = held.trimStart();
    const marker = this.#marks.begin;
    if (begin.length < marker.length && marker.startsWith(begin)) return "";
    const reasons = begin.startsWith(marker);
    this.#held = "";
    this.#reasoned = reasons;
    this.#enter(reasons ? "reasoning" : "text", []);
    return reasons ? begin.slice(marker.length) : held;
  }

  #pushArguments(text: string, parts: AnswerPart[]): string {
    const { json, rest } = this.#arguments!.push(text);
    this.#handArguments(parts, json);
    if (rest !== null) this.#enter(this.#options.tools!.callEnd === "" ? this.#afterCall() : "end", parts);
    return rest ?? "";
  }

  #pushUntilMarker(text: string, parts: AnswerPart[]): string {
    const { text: before, stopped } = this.#matcher.push(text);
    this.#hand(parts, before);
    if (!stopped) return "";
    // What follows the marker belongs to the next state.
    const rest = this.#matcher.rest();
    const marker = this.#markers().find((marker) => rest.startsWith(marker))!;
    const next = this.#next(marker);
    this.#enter(next, parts);
    // Where nothing comes between a header and its arguments, they begin with what ended it.
    return next === "arguments" && this.#options.tools!.argumentsBegin === "" ? rest : rest.slice(marker.length);
  }

  #markers(): string[] {
    const { tools } = this.#options;
    switch (this.#state) {
      case "start":
      case "arguments":
        return [];
      case "text":
        return tools === null ? [] : [markerOf(tools)];
      case "reasoning":
        return [this.#marks.end];
      case "header": {
        const begin = tools!.argumentsBegin === "" ? [tools!.keyed!.key[0], tools!.callEnd] : [tools!.argumentsBegin];
        return tools!.callBegin === "" ? [...begin, tools!.close] : begin;
      }
      case "end":
        return [tools!.callEnd];
      case "between":
        return [tools!.callBegin, tools!.close];
      default:
        return this.#state satisfies never;
    }
  }

  /** The state after a marker. */
  #next(marker: string): State {
    const { tools } = this.#options;
    switch (this.#state) {
      case "reasoning":
        return "text";
      case "text":
        return tools!.open !== "" && tools!.callBegin !== "" ? "between" : "header";
      case "header":
        return marker === tools!.close ? "text" : "arguments";
      case "end":
        return this.#afterCall();
      case "between":
        return marker === tools!.close ? "text" : "header";
      case "start":
      case "arguments":
        throw new Error(`a marker in state ${this.#state}`);
      default:
        return this.#state satisfies never;
    }
  }

  /** Without a section that has to be closed, text may follow any call. */
  #afterCall(): State {
    const { close, callBegin } = this.#options.tools!;
    if (close === "") return "text";
    return callBegin === "" ? "header" : "between";
  }

  #enter(state: State, parts: AnswerPart[]): void {
    if (state === "arguments") {
      const { tools, types } = this.#options;
      const name = tools!.toolOf(this.#header);
      parts.push({ kind: "call", index: this.#calls++, name });
      this.#afterCallOnly = true;
      this.#arguments = argumentsReader(tools!, types !== undefined && Object.hasOwn(types, name) ? types[name] : undefined);
    }
    // What was no call's header is nobody's.
    if (state !== "header") this.#header = "";
    this.#space = "";
    this.#state = state;
    this.#matcher = new StopMatcher(this.#markers());
  }

  #hand(parts: AnswerPart[], text: string): void {
    if (text === "") return;
    switch (this.#state) {
      case "text":
        return this.#handContent(parts, text);
      case "reasoning":
        parts.push({ kind: "reasoning", text });
        return;
      case "header":
        this.#header += text;
        return;
      // What surrounds calls is nobody's.
      case "start":
      case "arguments":
      case "end":
      case "between":
        return;
      default:
        this.#state satisfies never;
    }
  }

  #handArguments(parts: AnswerPart[], text: string): void {
    if (text !== "") parts.push({ kind: "arguments", index: this.#calls - 1, text });
  }

  #handContent(parts: AnswerPart[], text: string): void {
    // After reasoning or calls comes a line break that is no content.
    const structured = this.#calls > 0 || this.#options.reasoning === "begun";
    if (!structured && (this.#begun || !this.#reasoned)) return this.#say(parts, text);
    const all = this.#space + text;
    if ((this.#calls > 0 || this.#reasoned) && all.trim() === "") {
      this.#space = all;
      return;
    }
    this.#space = "";
    this.#say(parts, this.#begun || !structured ? all : all.trimStart());
  }

  #say(parts: AnswerPart[], content: string): void {
    if (content === "") return;
    this.#begun = true;
    this.#afterCallOnly = false;
    parts.push({ kind: "content", text: content });
  }
}
