/**
 * How far a relayed stream has come: what its client has seen, and what another cell must know to go on behind it.
 *
 * @module
 */
import type { FrontRequest } from "./front_request.ts";
import type { RelayedEvent } from "./event_reader.ts";

/** Progress of one stream, whichever cells it comes from. */
export class StreamProgress {
  readonly #several: boolean;
  /** Choices are told again from the beginning: what is known of tokens would lack their log-probabilities. */
  readonly #anew: boolean;
  readonly #tokens: number[][] = [];
  #seed: bigint | null = null;
  /** Events that the client has seen, by choice. */
  readonly #seen = new Map<number, number>();
  /** Events of the cell that goes on, by choice. */
  #told = new Map<number, number>();
  #tokensTold = new Map<number, number>();

  constructor({ several, logprobs }: Pick<FrontRequest, "several" | "logprobs">) {
    this.#several = several;
    this.#anew = several && logprobs;
  }

  /** Whether the client has seen anything. */
  get begun(): boolean {
    return this.#seen.size > 0;
  }

  /** Whether the client may have seen something of what was drawn. */
  get drawn(): boolean {
    return this.#seed !== null;
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
    const choice = this.#several ? choiceOf(bytes) : 0;
    const told = (this.#told.get(choice) ?? 0) + 1;
    this.#told.set(choice, told);
    if (told <= (this.#seen.get(choice) ?? 0)) return false;
    this.#seen.set(choice, told);
    return true;
  }

  #takeTokens(choice: number, tokens: readonly number[]): void {
    const known = this.#tokens[choice] ??= [];
    const told = this.#tokensTold.get(choice) ?? 0;
    known.push(...tokens.slice(Math.max(0, known.length - told)));
    this.#tokensTold.set(choice, told + tokens.length);
  }
}

/** Whose event it is; -1: nobody's in particular. */
function choiceOf(bytes: Uint8Array<ArrayBuffer>): number {
  const text = new TextDecoder().decode(bytes);
  const data = text.slice(text.indexOf("data: ") + 6);
  if (data.startsWith("[DONE]")) return -1;
  return (JSON.parse(data) as { choices?: { index?: number }[] }).choices?.[0]?.index ?? -1;
}
