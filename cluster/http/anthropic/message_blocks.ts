/**
 * The blocks of a message, whole and as events of a stream.
 *
 * @module
 */
import type { AnswerPart } from "../../../core/text/answers/answer_parser.ts";
import { WrittenJson } from "../json.ts";
import { newId } from "./ids.ts";

/** Told of an event by its type and what else it says. */
export type BlockListener = (type: "content_block_start" | "content_block_delta" | "content_block_stop", data: object) => void;

type Kind = "text" | "thinking" | "tool_use";

interface OpenBlock {
  readonly kind: Kind;
  readonly id: string;
  readonly name: string;
  text: string;
}

/** Puts blocks together from the parts of an answer. */
export class MessageBlocks {
  /** Those that are done. */
  readonly blocks: object[] = [];
  readonly #listener: BlockListener;
  #open: OpenBlock | null = null;
  /** White space, which is part of a text only if more of that follows. */
  #space = "";

  constructor(listener: BlockListener = () => {}) {
    this.#listener = listener;
  }

  take(part: AnswerPart): void {
    switch (part.kind) {
      case "content":
        return this.#takeText(part.text);
      case "reasoning":
        if (this.#open?.kind !== "thinking") this.#begin("thinking");
        return this.#delta(part.text, { type: "thinking_delta", thinking: part.text });
      case "call":
        return this.#begin("tool_use", part.name);
      case "arguments":
        return this.#delta(part.text, { type: "input_json_delta", partial_json: part.text });
      default:
        part satisfies never;
    }
  }

  /** Ends what is open. */
  end(): void {
    const open = this.#open;
    this.#space = "";
    if (open === null) return;
    this.#open = null;
    const where = { index: this.blocks.length };
    // There is nobody whom a signature would tell something: thinking is taken back without.
    if (open.kind === "thinking") this.#listener("content_block_delta", { ...where, delta: { type: "signature_delta", signature: "" } });
    this.#listener("content_block_stop", where);
    this.blocks.push(blockOf(open));
  }

  #takeText(text: string): void {
    const all = this.#space + text;
    if (this.#open?.kind !== "text") {
      // Between blocks there are lines that say nothing.
      this.#space = all.trim() === "" ? all : "";
      if (this.#space !== "") return;
      const first = this.#open === null && this.blocks.length === 0;
      this.#begin("text");
      text = first ? all : all.trimStart();
    }
    this.#delta(text, { type: "text_delta", text });
  }

  #begin(kind: Kind, name = ""): void {
    this.end();
    this.#open = { kind, id: newId("toolu"), name, text: "" };
    this.#listener("content_block_start", { index: this.blocks.length, content_block: blockOf(this.#open) });
  }

  #delta(text: string, delta: object): void {
    this.#open!.text += text;
    this.#listener("content_block_delta", { index: this.blocks.length, delta });
  }
}

function blockOf({ kind, id, name, text }: OpenBlock): object {
  switch (kind) {
    case "text":
      return { type: "text", text };
    case "thinking":
      return { type: "thinking", thinking: text, signature: "" };
    case "tool_use":
      return { type: "tool_use", id, name, input: inputOf(text), caller: { type: "direct" } };
    default:
      return kind satisfies never;
  }
}

/** The arguments of a call, as the model wrote them; of what was cut or is no object, which clients could not send back, none. */
function inputOf(json: string): object {
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
    return new WrittenJson(new TextEncoder().encode(json));
  } catch {
    return {};
  }
}
