/**
 * Where text meets tokens: what a server or library user asks of an engine, whether one process or a cluster is behind it.
 *
 * @module
 */
import type { ContextLimits } from "./context_limit.ts";
import type { SamplingParams } from "./sampling/params.ts";
import type { Speculation } from "./speculation/speculation.ts";
import type { ChatTemplate } from "./text/chat_template.ts";
import type { TextSource } from "./text/text_source.ts";
import type { TextTokenizer } from "./text/tokenizer.ts";

/** One generation. */
export interface TokenRequest {
  /** At least one token. */
  readonly prompt: readonly number[];
  /** Tokens to generate at most; 0 only computes the prompt. */
  readonly maxTokens: number;
  /** How tokens are drawn. */
  readonly sampling: SamplingParams;
  /** Which of a request's `n` choices this is; each draws its own noise. */
  readonly choice: number;
  /** Tokens that end the generation; they are reported, with their logprob, before it ends. */
  readonly stopTokens: ReadonlySet<number>;
  /** Alternatives to report with each generated token; null: no log-probabilities at all. */
  readonly logprobs: number | null;
  /** The same for the prompt. */
  readonly promptLogprobs: number | null;
  /** What the answer's form must be; undefined: anything. It belongs to this request alone. */
  readonly constraint?: TokenConstraint;
  /** Whose request it is: requests of one client are served fairly beside those of others, and share no cached prefix with them. */
  readonly client?: string;
  /** Requests of a client with a smaller number are served before others of that client; default: 0. */
  readonly priority?: number;
  /** How tokens are guessed, to be verified several at a time, which changes none of them; default: as the engine is set. */
  readonly speculate?: Speculation;
  /** Tokens that the answer may be like, apart from some changes: more to guess from. */
  readonly prediction?: readonly number[];
  /**
   * Tokens of the answer that were generated before, by an engine of equal arithmetic that is gone: they are reported again, without log-probabilities, and the
   * generation goes on behind them as it would have gone on there. Fewer than `maxTokens`, and none of them ends the generation.
   */
  readonly resumed?: readonly number[];
  /** Ends the generation. */
  readonly signal: AbortSignal;
}

/** A grammar's state after the tokens so far. */
export interface TokenConstraint {
  /** Resolves when {@link mask} is there after {@link accept}, rejects if there is none; null: it is there. */
  readonly settled: Promise<void> | null;
  /** Tokens allowed next, one bit each, [⌈vocabulary / 32⌉] words; another array when others are, never changed in place. */
  readonly mask: Uint32Array;
  /** The mask after these tokens, if they are taken next; where there is {@link foresight}, of as many as are known. Without it nothing is known in advance. */
  maskBehind?(tokens: readonly number[]): Uint32Array;
  /** Finds out what {@link maskBehind} tells; without it, that is known of whatever tokens. */
  readonly foresight?: Foresight;
  /** Goes on by one token. */
  accept(token: number): void;
}

/** What may come behind tokens that are not taken yet. */
export interface Foresight {
  /** Finds out what may come behind each of these tokens, if they are taken next; resolves when it is known, or will not be. */
  foresee(tokens: readonly number[]): Promise<void>;
  /** Of how many of them it is known, since the last token was taken; those behind may not come. */
  readonly known: number;
}

/** Log-probability of a token under the model (before temperature, penalties and bias), in nats, and of the best alternatives, descending. */
export interface TokenLogprob {
  /** Token id. */
  readonly token: number;
  /** ln p, in nats. */
  readonly logprob: number;
  /** The best alternatives, descending. */
  readonly top: readonly { readonly token: number; readonly logprob: number }[];
}

/** What has become of tokens that were guessed, so far. */
export interface DraftTotals {
  /** They were right. */
  readonly accepted: number;
  /** They, or one before them, were not. */
  readonly rejected: number;
}

/** Why a generation ended by itself. */
export type FinishReason = "stop" | "length";

/** What a generation reports. */
export type TokenEvent =
  /** The prompt has been computed; `cached` of its tokens were known already. */
  | { readonly kind: "prefilled"; readonly cached: number }
  /** Log-probabilities of the prompt's tokens; null for the first. */
  | { readonly kind: "prompt"; readonly logprobs: readonly (TokenLogprob | null)[] }
  | { readonly kind: "token"; readonly token: number; readonly logprob: TokenLogprob | null; readonly drafts?: DraftTotals }
  | { readonly kind: "finish"; readonly reason: FinishReason };

/** Generates tokens. */
export interface TokenEngine extends ContextLimits {
  /** True while requests can be served. */
  readonly ready: boolean;
  /** What is not as it should be though requests are served, in words; null or absent: nothing. */
  readonly degraded?: string | null;
  /**
   * Runs a generation to its end and reports what happens when it happens: a slow reader holds nobody up. Nothing is reported after it has settled.
   *
   * @param emit told the events, the last one `finish`; what it throws ends the generation
   * @throws {LatentmeshError} `invalid_request` (does not fit the context), `cancelled` (the signal), `capacity`, `device_lost`
   */
  generate(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void>;
}

/** Sampling defaults that a checkpoint asks for. */
export type SamplingDefaults = Partial<Pick<SamplingParams, "temperature" | "topP" | "topK" | "repetitionPenalty">>;

/** A model that is being served: everything between text and tokens. */
export interface ServedModel {
  /** Name in the API. */
  readonly id: string;
  /** Unix time in seconds at which it was loaded. */
  readonly created: number;
  /** Generates tokens. */
  readonly engine: TokenEngine;
  /** What tokenizer and template are made from. */
  readonly textSource: TextSource;
  /** Text ↔ tokens. */
  readonly tokenizer: TextTokenizer;
  /** Conversations → prompts; null if the checkpoint has none. */
  readonly chatTemplate: ChatTemplate | null;
  /** Number of token ids. */
  readonly vocabSize: number;
  /** Tokens that end an answer. */
  readonly eosTokens: readonly number[];
  /** What the checkpoint asks for. */
  readonly samplingDefaults: SamplingDefaults;
}
