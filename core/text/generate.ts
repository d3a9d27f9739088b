/**
 * Tokens → text: one generation with detokenisation and stop strings.
 *
 * @module
 */
import type { DraftTotals, FinishReason, ServedModel, TokenEvent, TokenLogprob, TokenRequest } from "../engine.ts";
import { createDetokenizer, type Detokenizer, isShown, type KeptTokens } from "./detokenizer.ts";
import { StopMatcher } from "./stop.ts";
import type { TextTokenizer } from "./tokenizer.ts";

/** A piece of generated text. */
export interface GeneratedPiece {
  /** Text that became certain. */
  readonly text: string;
  /** The tokens behind it. */
  readonly tokens: readonly number[];
  /** One for each token, where asked for. */
  readonly logprobs: readonly TokenLogprob[];
  /** Set in the last piece. */
  readonly finishReason: FinishReason | null;
  /** What has become of tokens that were guessed, up to this piece; undefined: none were. */
  readonly drafts?: DraftTotals;
}

/** What a text generation reports. */
export type TextEvent =
  | { readonly kind: "prefilled"; readonly cached: number }
  | { readonly kind: "prompt"; readonly logprobs: readonly (TokenLogprob | null)[] }
  | ({
    readonly kind: "piece";
    /** The stop string that ended the text; null: none has. */
    readonly stopString: string | null;
  } & GeneratedPiece);

/** Options of {@link generateText}. */
export interface TextOptions {
  readonly stop: readonly string[];
  /** Whether the stop string is part of the text. */
  readonly includeStop?: boolean;
  /** Special tokens that are part of the text. */
  readonly kept?: KeptTokens;
}

/**
 * Runs a token request as text. A stop string ends the generation and is left out; a token whose text is held back, because a character or a stop string may
 * be incomplete, comes with the piece that shows it.
 *
 * @param emit told the events as they come
 * @throws {LatentmeshError} as `TokenEngine.generate` does
 */
export async function generateText(
  model: Pick<ServedModel, "engine" | "tokenizer">,
  request: TokenRequest,
  options: TextOptions,
  emit: (event: TextEvent) => void,
): Promise<void> {
  const stopped = options.stop.length === 0 ? null : new AbortController();
  const text = new TextAssembly(model.tokenizer, request.stopTokens, options);
  try {
    const signal = stopped === null ? request.signal : AbortSignal.any([request.signal, stopped.signal]);
    await model.engine.generate({ ...request, signal }, (event) => {
      if (stopped?.signal.aborted) return;
      const next = text.push(event);
      if (next === null) return;
      emit(next);
      if (text.stopped) stopped?.abort();
    });
  } catch (error) {
    // A stop string has ended the answer before the engine did.
    if (!stopped?.signal.aborted) throw error;
  }
}

/** Puts the text of one generation together. */
class TextAssembly {
  /** Whether a stop string has been found. */
  stopped = false;
  readonly #stopTokens: ReadonlySet<number>;
  readonly #detokenizer: Detokenizer;
  readonly #matcher: StopMatcher;
  #drafts: DraftTotals | undefined;
  readonly #includeStop: boolean;
  /** Stop strings that are tokens which no text shows. */
  readonly #hiddenStops: ReadonlyMap<number, string>;
  #tokens: number[] = [];
  #logprobs: TokenLogprob[] = [];

  constructor(tokenizer: TextTokenizer, stopTokens: ReadonlySet<number>, { stop, includeStop = false, kept = new Set() }: TextOptions) {
    this.#stopTokens = stopTokens;
    this.#detokenizer = createDetokenizer(tokenizer, kept);
    this.#matcher = new StopMatcher(stop, includeStop);
    this.#includeStop = includeStop;
    const hidden = (token: number) => stopTokens.has(token) || !isShown(tokenizer, kept, token);
    this.#hiddenStops = new Map(
      stop.map((text) => [tokenizer.tokenOf(text), text] as const).filter((entry): entry is [number, string] =>
        entry[0] !== null && hidden(entry[0])
      ),
    );
  }

  /** What an event of the engine comes to; null: nothing can be told yet. */
  push(event: TokenEvent): TextEvent | null {
    switch (event.kind) {
      case "prefilled":
      case "prompt":
        return event;
      case "token": {
        const { token, logprob, drafts } = event;
        this.#drafts = drafts;
        this.#tokens.push(token);
        if (logprob !== null) this.#logprobs.push(logprob);
        const hidden = this.#hiddenStops.get(token);
        if (hidden !== undefined) return this.#endAt(hidden);
        const { text, stopped } = this.#matcher.push(this.#stopTokens.has(token) ? "" : this.#detokenizer.push(token));
        if (stopped) return this.#stop(text, this.#matcher.found);
        return text === "" ? null : this.#piece(text, null);
      }
      case "finish": {
        const { text, stopped } = this.#matcher.push(this.#detokenizer.finish());
        return stopped ? this.#stop(text, this.#matcher.found) : this.#piece(text + this.#matcher.finish(), event.reason);
      }
      default:
        return event satisfies never;
    }
  }

  /** Ends at a stop string that is a token by itself. */
  #endAt(stopString: string): TextEvent {
    const { text, stopped } = this.#matcher.push(this.#detokenizer.finish());
    // What was held back may still hold another stop string, which comes first.
    if (stopped) return this.#stop(text, this.#matcher.found);
    return this.#stop(text + this.#matcher.finish() + (this.#includeStop ? stopString : ""), stopString);
  }

  #stop(text: string, stopString: string | null): TextEvent {
    this.stopped = true;
    return this.#piece(text, "stop", stopString);
  }

  #piece(text: string, finishReason: FinishReason | null, stopString: string | null = null): TextEvent {
    const drafts = this.#drafts;
    const event: TextEvent = {
      kind: "piece",
      text,
      tokens: this.#tokens,
      logprobs: this.#logprobs,
      finishReason,
      stopString,
      ...(drafts === undefined ? {} : { drafts }),
    };
    this.#tokens = [];
    this.#logprobs = [];
    return event;
  }
}
