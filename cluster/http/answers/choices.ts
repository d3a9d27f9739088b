/**
 * The choices of one request, run side by side.
 *
 * @module
 */
import type { DraftTotals, FinishReason, ServedModel, TokenLogprob, TokenRequest } from "../../../core/engine.ts";
import { generateText, type TextEvent, type TextOptions } from "../../../core/text/generate.ts";
import type { RequestAbort } from "../sse.ts";

/** A finished choice. */
export interface Choice {
  readonly text: string;
  readonly tokens: readonly number[];
  readonly logprobs: readonly TokenLogprob[];
  readonly promptLogprobs: readonly (TokenLogprob | null)[];
  readonly finishReason: FinishReason;
}

/** Token counts of a response. */
export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
  /** Tokens that were guessed and verified several at a time, and those of reasoning, if any were. */
  readonly completion_tokens_details?: {
    readonly accepted_prediction_tokens?: number;
    readonly rejected_prediction_tokens?: number;
    readonly reasoning_tokens?: number;
  };
}

/** Counts the tokens of a response. Each prompt counts once, however many choices it has. */
export class UsageMeter {
  readonly #promptTokens: number;
  readonly #choicesPerPrompt: number;
  #cached = 0;
  #generated = 0;
  /** By choice. */
  readonly #drafts: (DraftTotals | undefined)[] = [];

  constructor(options: { readonly promptTokens: number; readonly choicesPerPrompt: number }) {
    this.#promptTokens = options.promptTokens;
    this.#choicesPerPrompt = options.choicesPerPrompt;
  }

  /** Counts what an event brings. */
  see(index: number, event: TextEvent): void {
    if (event.kind === "piece") {
      this.#generated += event.tokens.length;
      this.#drafts[index] = event.drafts;
    }
    if (event.kind === "prefilled" && index % this.#choicesPerPrompt === 0) this.#cached += event.cached;
  }

  /** What was counted so far. @param reasoning tokens of it */
  usageWith(reasoning: number): Usage {
    const { usage } = this;
    if (reasoning === 0) return usage;
    return { ...usage, completion_tokens_details: { reasoning_tokens: reasoning, ...usage.completion_tokens_details } };
  }

  /** The same where nothing is known of reasoning. */
  get usage(): Usage {
    const drafts = this.#drafts.filter((totals) => totals !== undefined);
    const sum = (what: keyof DraftTotals) => drafts.reduce((sum, totals) => sum + totals[what], 0);
    const guessed = { accepted_prediction_tokens: sum("accepted"), rejected_prediction_tokens: sum("rejected") };
    return {
      prompt_tokens: this.#promptTokens,
      completion_tokens: this.#generated,
      total_tokens: this.#promptTokens + this.#generated,
      prompt_tokens_details: { cached_tokens: this.#cached },
      ...(drafts.length === 0 ? {} : { completion_tokens_details: guessed }),
    };
  }
}

/** Told what happens in choice `index`. */
export type ChoiceListener = (index: number, event: TextEvent) => void;

/**
 * Runs all choices to their end, side by side. Where one fails the others end too.
 *
 * @param abort what ends the requests early; they carry its signal
 * @throws {LatentmeshError} why the first failed that did
 */
export async function runChoices(
  model: ServedModel,
  requests: readonly TokenRequest[],
  options: TextOptions,
  abort: RequestAbort,
  emit: ChoiceListener,
): Promise<void> {
  const running = requests.map((request, index) => generateText(model, request, options, (event) => emit(index, event)));
  try {
    await Promise.all(running);
  } catch (error) {
    abort.abort();
    await Promise.allSettled(running);
    throw error;
  }
}

/** Runs all choices and gives them whole. @param see told what happens besides */
export async function collectChoices(
  model: ServedModel,
  requests: readonly TokenRequest[],
  options: TextOptions,
  abort: RequestAbort,
  see: ChoiceListener,
): Promise<Choice[]> {
  const choices = requests.map(() => ({
    text: "",
    tokens: [] as number[],
    logprobs: [] as TokenLogprob[],
    promptLogprobs: [] as readonly (TokenLogprob | null)[],
    finishReason: "length" as FinishReason,
  }));
  await runChoices(model, requests, options, abort, (index, event) => {
    see(index, event);
    const choice = choices[index];
    if (event.kind === "prompt") {
      choice.promptLogprobs = event.logprobs;
    } else if (event.kind === "piece") {
      choice.text += event.text;
      choice.tokens.push(...event.tokens);
      choice.logprobs.push(...event.logprobs);
      if (event.finishReason !== null) choice.finishReason = event.finishReason;
    }
  });
  return choices;
}
