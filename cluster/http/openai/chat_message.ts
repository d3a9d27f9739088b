/**
 * Parts of an answer in the form of chat messages, whole and as deltas.
 *
 * @module
 */
import type { AnswerParser, AnswerPart } from "../../../core/text/answers/answer_parser.ts";
import { Slices } from "../slices.ts";

/** One call of a tool. */
export interface ToolCall {
  readonly id: string;
  readonly type: "function";
  readonly function: { readonly name: string; readonly arguments: string };
}

/** A whole answer, sorted. */
export interface SortedAnswer {
  readonly content: string;
  readonly reasoning: string;
  readonly calls: readonly ToolCall[];
}

/** Characters of an answer that are taken apart at a time. */
const RUN = 4096;

/** Sorts the parts of an answer as they come. */
export class AnswerSum implements SortedAnswer {
  content = "";
  reasoning = "";
  readonly #parser: AnswerParser;
  readonly #calls: { id: string; type: "function"; function: { name: string; arguments: string } }[] = [];

  constructor(parser: AnswerParser) {
    this.#parser = parser;
  }

  get calls(): readonly ToolCall[] {
    return this.#calls;
  }

  /** Takes a whole answer apart. */
  async takeWhole(text: string, slices: Slices = new Slices()): Promise<this> {
    for (let at = 0; at < text.length; at += RUN) {
      this.#add(this.#parser.push(text.slice(at, at + RUN)));
      await slices.breathe();
    }
    this.#add(this.#parser.finish());
    return this;
  }

  #add(parts: readonly AnswerPart[]): void {
    for (const part of parts) {
      switch (part.kind) {
        case "content":
          this.content += part.text;
          break;
        case "reasoning":
          this.reasoning += part.text;
          break;
        case "call":
          this.#calls[part.index] = { id: callId(), type: "function", function: { name: part.name, arguments: "" } };
          break;
        case "arguments":
          this.#calls[part.index].function.arguments += part.text;
          break;
        default:
          part satisfies never;
      }
    }
  }
}

/** `choices[].message` of chat completions. */
export function assistantMessage({ content, reasoning, calls }: SortedAnswer): object {
  return {
    role: "assistant",
    content: calls.length > 0 && content === "" ? null : content,
    refusal: null,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

interface Delta {
  content?: string;
  reasoning_content?: string;
  tool_calls?: [{ index: number; id?: string; type?: "function"; function: { name?: string; arguments: string } }];
}

/** `choices[].delta` of chat completions, one at least: what comes together, but of one call only, since there are clients that look at the first of each delta. */
export function deltasOf(parts: readonly AnswerPart[]): [object, ...object[]] {
  let delta: Delta = {};
  const deltas: [Delta, ...Delta[]] = [delta];
  /** The delta that may hold a part: the last, unless that holds a call already which this is not part of. */
  const holding = (call: number | null): Delta => {
    const held = delta.tool_calls?.[0].index;
    if (held !== undefined && held !== call) deltas.push(delta = {});
    return delta;
  };
  for (const part of parts) {
    switch (part.kind) {
      case "content": {
        const delta = holding(null);
        delta.content = (delta.content ?? "") + part.text;
        break;
      }
      case "reasoning": {
        const delta = holding(null);
        delta.reasoning_content = (delta.reasoning_content ?? "") + part.text;
        break;
      }
      case "call":
        holding(part.index).tool_calls = [{ index: part.index, id: callId(), type: "function", function: { name: part.name, arguments: "" } }];
        break;
      case "arguments": {
        const delta = holding(part.index);
        if (delta.tool_calls === undefined) delta.tool_calls = [{ index: part.index, function: { arguments: part.text } }];
        else delta.tool_calls[0].function.arguments += part.text;
        break;
      }
      default:
        part satisfies never;
    }
  }
  return deltas;
}

/** A name for a call, unique in any conversation. */
export function callId(): string {
  return `call_${crypto.randomUUID().replaceAll("-", "").slice(0, 24)}`;
}
