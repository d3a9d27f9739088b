/**
 * An answer as a whole, put together from its parts as they come: for every API, and for programs.
 *
 * @module
 */
import type { AnswerParser, AnswerPart } from "../../core/text/answers/answer_parser.ts";
import type { GeneratedPiece } from "../../core/text/generate.ts";

/** One call of a tool, as messages have it. */
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

  /** How many of its tokens are reasoning. */
  get reasoningTokens(): number {
    return this.#parser.reasoningTokens;
  }

  /** Takes the next piece. @returns parts that became certain with it */
  take({ text, tokens, finishReason }: Pick<GeneratedPiece, "text" | "tokens" | "finishReason">): AnswerPart[] {
    const parts = partsOf(this.#parser, { text, tokens, finishReason });
    this.#add(parts);
    return parts;
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

/** Parts that became certain with a piece; with the last one, all that was held back. */
export function partsOf(parser: AnswerParser, piece: Pick<GeneratedPiece, "text" | "tokens" | "finishReason">): AnswerPart[] {
  const parts = parser.push(piece.text, piece.tokens.length);
  return piece.finishReason === null ? parts : [...parts, ...parser.finish()];
}

/** A name for a call, unique in any conversation. */
export function callId(): string {
  return `call_${crypto.randomUUID().replaceAll("-", "").slice(0, 24)}`;
}
