/**
 * How far a relayed stream has come: what its client has seen, and what another cell must know to go on behind it.
 *
 * @module
 */
import type { FrontRequest } from "./front_request.ts";
import type { RelayedEvent } from "./event_reader.ts";

/** What the last events of streams begin with, by path; of chats and completions, whatever they tell. */
const LAST: Readonly<Record<string, readonly string[]>> = {
  "/v1/messages": ["event: message_stop\n", "event: error\n"],
  "/v1/responses": ["event: response.completed\n", "event: response.incomplete\n", "event: response.failed\n", "event: error\n"],
};
const DONE = ["data: [DONE]\n"];
const LONGEST = 32;
const DECODER = new TextDecoder();

/** Progress of one stream, whichever cells it comes from. */
export class StreamProgress {
  readonly #several: boolean;
  /** Choices are told again from the beginning: what is known of tokens would lack their log-probabilities. */
  readonly #anew: boolean;
  readonly #last: readonly string[];
  readonly #tokens: number[][] = [];
  #seed: bigint | null = null;
  #ended = false;
  /** Events that the client has seen, by choice. */
  readonly #seen = new Map<number, number>();
  /** Events of the cell that goes on, by choice. */
  #told = new Map<number, number>();
  #tokensTold = new Map<number, number>();

  constructor({ path, several, logprobs }: Pick<FrontRequest, "path" | "several" | "logprobs">) {
    this.#several = several;
    this.#anew = several && logprobs;
    this.#last = LAST[path] ?? DONE;
  }

  /** Whether the client may have seen something of what was drawn. */
  get drawn(): boolean {
    return this.#seed !== null;
  }

  /** Whether the client has seen the last event that there is. */
  get ended(): boolean {
    return this.#ended;
  }

  /** What the next cell is told, if anything was drawn. */
  get resumption(): { readonly seed: string; readonly tokens: readonly (readonly number[])[] } {
    return { seed: String(this.#seed ?? 0n), tokens: this.#anew ? [] : Array.from(this.#tokens, (tokens) => tokens ?? []) };
  }

  /** Another cell begins to tell everything. */
  restart(): void {
    this.#told = new Map();
    this.#tokensTold = new Map();
  }

  /** Takes an event in. @returns whether the client has not seen it */
  take({ bytes, notes }: RelayedEvent): boolean {
    if (notes.seed !== undefined) this.#seed ??= notes.seed;
    for (const [choice, tokens] of notes.tokens ?? []) this.#takeTokens(choice, tokens);
    if (bytes.length === 0) return false;
    const choice = this.#several ? choiceOf(bytes) : 0;
    const told = (this.#told.get(choice) ?? 0) + 1;
    this.#told.set(choice, told);
    if (told <= (this.#seen.get(choice) ?? 0)) return false;
    this.#seen.set(choice, told);
    const begin = DECODER.decode(bytes.subarray(0, LONGEST));
    this.#ended ||= this.#last.some((last) => begin.startsWith(last));
    return true;
  }

  #takeTokens(choice: number, tokens: readonly number[]): void {
    const known = this.#tokens[choice] ??= [];
    const told = this.#tokensTold.get(choice) ?? 0;
    // One by one: a cell that goes on tells all tokens of a long answer at once, more than a call takes arguments.
    for (const token of tokens.slice(Math.max(0, known.length - told))) known.push(token);
    this.#tokensTold.set(choice, told + tokens.length);
  }
}

/** Whose event it is; -1: nobody's in particular. */
function choiceOf(bytes: Uint8Array<ArrayBuffer>): number {
  const text = DECODER.decode(bytes);
  try {
    return (JSON.parse(text.slice(text.indexOf("data: ") + 6)) as { choices?: { index?: number }[] }).choices?.[0]?.index ?? -1;
  } catch {
    // The last one is no JSON.
    return -1;
  }
}
