/**
 * Takes an answer apart as it comes: reasoning, text, tool calls. Nothing is handed out while it may still turn out to be the beginning of a marker.
 *
 * @module
 */
import { StopMatcher } from "../stop.ts";
import { JsonEnd } from "./json_end.ts";
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

/** "start": reasoning may begin; "end": of a call, after its arguments; "between" calls. */
type State = "start" | "text" | "reasoning" | "header" | "arguments" | "end" | "between";

/** Parses one answer. */
export class AnswerParser {
  readonly #options: AnswerParserOptions;
  #state: State;
  #matcher: StopMatcher;
  /** What has come before it is clear whether the answer begins with reasoning. */
  #held = "";
  #header = "";
  #arguments = new JsonEnd();
  #calls = 0;
  /** Whether content has begun: what surrounds it is white space until then. */
  #begun = false;

  constructor(options: AnswerParserOptions) {
    this.#options = options;
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

  /** Parts that became certain with this text. */
  push(text: string): AnswerPart[] {
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
    else this.#hand(parts, this.#matcher.finish());
    return parts;
  }

  /** Reasoning begins at the very start of an answer, or is content. @returns what the next state is to see */
  #pushStart(text: string): string {
    const held = this.#held += text;
    const begin = held.trimStart();
    if (begin.length < THINKING[0].length && THINKING[0].startsWith(begin)) return "";
    const reasons = begin.startsWith(THINKING[0]);
    this.#held = "";
    this.#enter(reasons ? "reasoning" : "text", []);
    return reasons ? begin.slice(THINKING[0].length) : held;
  }

  /** Arguments end where their JSON does: what closes the call may begin as they do. */
  #pushArguments(text: string, parts: AnswerPart[]): string {
    const end = this.#arguments.push(text);
    const length = end < 0 ? text.length : end;
    parts.push({ kind: "arguments", index: this.#calls - 1, text: text.slice(0, length) });
    if (end >= 0) this.#enter("end", parts);
    return text.slice(length);
  }

  #pushUntilMarker(text: string, parts: AnswerPart[]): string {
    const { text: before, stopped } = this.#matcher.push(text);
    this.#hand(parts, before);
    if (!stopped) return "";
    // What follows the marker belongs to the next state.
    const rest = this.#matcher.rest();
    const marker = this.#markers().find((marker) => rest.startsWith(marker))!;
    this.#enter(this.#next(marker), parts);
    return rest.slice(marker.length);
  }

  #markers(): string[] {
    const { tools } = this.#options;
    switch (this.#state) {
      case "start":
      case "arguments":
        return [];
      case "text":
        return tools === null ? [] : [tools.open === "" ? tools.callBegin : tools.open];
      case "reasoning":
        return [THINKING[1]];
      case "header":
        return [tools!.argumentsBegin];
      case "end":
        return [tools!.callEnd];
      case "between":
        return [tools!.callBegin, ...(tools!.close === "" ? [] : [tools!.close])];
      default:
        return this.#state satisfies never;
    }
  }

  /** The state after a marker. */
  #next(marker: string): State {
    const { tools } = this.#options;
    if (this.#state === "reasoning" || marker === tools!.close) return "text";
    if (marker === tools!.callBegin) return "header";
    return marker === tools!.argumentsBegin ? "arguments" : "between";
  }

  #enter(state: State, parts: AnswerPart[]): void {
    if (state === "arguments") {
      parts.push({ kind: "call", index: this.#calls++, name: this.#options.tools!.toolOf(this.#header) });
      this.#header = "";
      this.#arguments = new JsonEnd();
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

  #handContent(parts: AnswerPart[], text: string): void {
    // After reasoning or calls comes a line break that is no content.
    const structured = this.#calls > 0 || this.#options.reasoning === "begun";
    const content = structured && !this.#begun ? text.trimStart() : text;
    if (content === "") return;
    this.#begun = true;
    parts.push({ kind: "content", text: content });
  }
}
