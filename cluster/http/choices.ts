/**
 * The choices of one request, run side by side.
 *
 * @module
 */
import type { FinishReason, ServedModel, TokenLogprob, TokenRequest } from "../../core/engine.ts";
import { generateText, type TextEvent, type TextOptions } from "../../core/text/generate.ts";
import type { RequestAbort } from "./sse.ts";

/** An event of one choice. */
export interface ChoiceEvent {
  readonly index: number;
  readonly event: TextEvent;
}

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
}

/** Counts the tokens of a response. Each prompt counts once, however many choices it has. */
export class UsageMeter {
  readonly #promptTokens: number;
  readonly #choicesPerPrompt: number;
  #cached = 0;
  #generated = 0;

  constructor(options: { readonly promptTokens: number; readonly choicesPerPrompt: number }) {
    this.#promptTokens = options.promptTokens;
    this.#choicesPerPrompt = options.choicesPerPrompt;
  }

  /** Counts what an event brings. */
  see({ index, event }: ChoiceEvent): void {
    if (event.kind === "piece") this.#generated += event.tokens.length;
    if (event.kind === "prefilled" && index % this.#choicesPerPrompt === 0) this.#cached += event.cached;
  }

  /** What was counted so far. */
  get usage(): Usage {
    return {
      prompt_tokens: this.#promptTokens,
      completion_tokens: this.#generated,
      total_tokens: this.#promptTokens + this.#generated,
      prompt_tokens_details: { cached_tokens: this.#cached },
    };
  }
}

/**
 * Events of all choices as they come. Leaving the iteration ends every choice.
 *
 * @param abort what ends the requests early; they carry its signal
 */
export async function* runChoices(
  model: ServedModel,
  requests: readonly TokenRequest[],
  options: TextOptions,
  abort: RequestAbort,
): AsyncGenerator<ChoiceEvent> {
  if (requests.length === 1) {
    // Nothing to merge: an event goes straight through.
    for await (const event of generateText(model, requests[0], options)) yield { index: 0, event };
    return;
  }
  const iterators = requests.map((request) => generateText(model, request, options));
  const pending = new Map(iterators.map((iterator, index) => [index, nextOf(iterator, index)]));
  try {
    while (pending.size > 0) {
      const { index, result } = await Promise.race(pending.values());
      if (result.done) {
        pending.delete(index);
      } else {
        yield { index, event: result.value };
        pending.set(index, nextOf(iterators[index], index));
      }
    }
  } finally {
    if (pending.size > 0) abort.abort();
    await Promise.allSettled(pending.values());
    await Promise.allSettled(iterators.map((iterator) => iterator.return(undefined)));
  }
}

async function nextOf(iterator: AsyncGenerator<TextEvent>, index: number): Promise<{ index: number; result: IteratorResult<TextEvent> }> {
  return { index, result: await iterator.next() };
}

/** Runs all choices to their end. */
export async function collectChoices(
  model: ServedModel,
  requests: readonly TokenRequest[],
  options: TextOptions,
  abort: RequestAbort,
  meter: UsageMeter,
): Promise<Choice[]> {
  const choices = requests.map(() => ({
    text: "",
    tokens: [] as number[],
    logprobs: [] as TokenLogprob[],
    promptLogprobs: [] as readonly (TokenLogprob | null)[],
    finishReason: "length" as FinishReason,
  }));
  for await (const choiceEvent of runChoices(model, requests, options, abort)) {
    meter.see(choiceEvent);
    const { index, event } = choiceEvent;
    const choice = choices[index];
    if (event.kind === "prompt") {
      choice.promptLogprobs = event.logprobs;
    } else if (event.kind === "piece") {
      choice.text += event.text;
      choice.tokens.push(...event.tokens);
      choice.logprobs.push(...event.logprobs);
      if (event.finishReason !== null) choice.finishReason = event.finishReason;
    }
  }
  return choices;
}
