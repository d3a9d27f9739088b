/**
 * Takes an answer apart as it comes: reasoning, text, tool calls. Nothing is handed out while it may still turn out to be the beginning of a marker.
 *
 * @module
 */
import { StopMatcher } from "../stop.ts";
import { THINKING, type ToolFormat } from "./tool_format.ts";

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
}

type State = "text" | "reasoning" | "header" | "arguments" | "between";

/** Parses one answer. */
export class AnswerParser {
  readonly #options: AnswerParserOptions;
  #state: State;
  #matcher: StopMatcher;
  #header = "";
  #calls = 0;
  /** Whether content has begun: what surrounds it is white space until then. */
  #begun = false;

  constructor(options: AnswerParserOptions) {
    this.#options = options;
    this.#state = options.reasoning === "begun" ? "reasoning" : "text";
    this.#matcher = new StopMatcher(this.#markers());
  }

  /** Whether the answer has called a tool. */
  get called(): boolean {
    return this.#calls > 0;
  }

  /** Parts that became certain with this text. */
  push(text: string): AnswerPart[] {
    const parts: AnswerPart[] = [];
    let rest = text;
    while (true) {
      const { text: before, stopped } = this.#matcher.push(rest);
      this.#hand(parts, before);
      if (!stopped) return parts;
      // What follows the marker belongs to the next state.
      rest = this.#matcher.rest();
      this.#enter(this.#next(rest), parts);
      rest = rest.slice(this.#passed);
    }
  }

  /** What was held back. */
  finish(): AnswerPart[] {
    const parts: AnswerPart[] = [];
    this.#hand(parts, this.#matcher.finish());
    return parts;
  }

  /** Length of the marker that was just passed. */
  #passed = 0;

  #markers(): string[] {
    const { tools, reasoning } = this.#options;
    switch (this.#state) {
      case "text":
        return [...(tools === null ? [] : [tools.open === "" ? tools.callBegin : tools.open]), ...(reasoning === "no" ? [] : [THINKING[0]])];
      case "reasoning":
        return [THINKING[1]];
      case "header":
        return [tools!.argumentsBegin];
      case "arguments":
        return [tools!.callEnd];
      case "between":
        return [tools!.callBegin, ...(tools!.close === "" ? [] : [tools!.close])];
      default:
        return this.#state satisfies never;
    }
  }

  /** The state after a marker with which `rest` begins. */
  #next(rest: string): State {
    const marker = this.#markers().find((marker) => rest.startsWith(marker))!;
    this.#passed = marker.length;
    const { tools } = this.#options;
    if (marker === THINKING[0]) return "reasoning";
    if (marker === THINKING[1]) return "text";
    if (marker === tools!.close) return "text";
    if (marker === tools!.callBegin) return "header";
    if (marker === tools!.open) return "between";
    return marker === tools!.argumentsBegin ? "arguments" : "between";
  }

  #enter(state: State, parts: AnswerPart[]): void {
    if (state === "arguments") {
      parts.push({ kind: "call", index: this.#calls++, name: this.#options.tools!.toolOf(this.#header) });
      this.#header = "";
    }
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
      case "arguments":
        parts.push({ kind: "arguments", index: this.#calls - 1, text });
        return;
      case "between":
        return;
      default:
        this.#state satisfies never;
    }
  }

  #handContent(parts: AnswerPart[], text: string): void {
    // After reasoning or calls comes a line break that is no content.
    const structured = this.#calls > 0 || this.#options.reasoning === "begun";
    const content = structured && !this.#begun ? text.trimStart() : text;
    if (content === "") return;
    this.#begun = true;
    parts.push({ kind: "content", text: content });
  }
}
