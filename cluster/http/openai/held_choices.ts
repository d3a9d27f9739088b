/**
 * Choices whose events wait until the log-probabilities of their prompt, which only its first choice computes, have been sent.
 *
 * @module
 */
import type { TokenLogprob } from "../../../core/engine.ts";
import type { TextEvent } from "../../../core/text/generate.ts";
import type { ChoiceListener } from "../answers/choices.ts";

/** Sends a prompt's log-probabilities as part of a choice. */
type Echo = (index: number, logprobs: readonly (TokenLogprob | null)[]) => Promise<void>;

/** Holds events back. */
export class HeldChoices {
  readonly #perPrompt: number;
  readonly #echo: Echo;
  readonly #listener: ChoiceListener;
  readonly #held = new Map<number, TextEvent[]>();
  readonly #released = new Set<number>();
  readonly #echoes: Promise<void>[] = [];

  constructor(perPrompt: number, echo: Echo, listener: ChoiceListener) {
    this.#perPrompt = perPrompt;
    this.#echo = echo;
    this.#listener = listener;
  }

  /** Resolves when nothing is held back any more. */
  get released(): Promise<unknown> {
    return Promise.all(this.#echoes);
  }

  /** Takes an event of a choice. */
  take(index: number, event: TextEvent): void {
    if (event.kind === "prompt") {
      const echo = this.#release(index, event.logprobs);
      // Whoever runs the choices waits for it when they have ended.
      echo.catch(() => {});
      this.#echoes.push(echo);
    } else if (event.kind === "prefilled" || this.#released.has(index)) this.#listener(index, event);
    else if (this.#held.has(index)) this.#held.get(index)!.push(event);
    else this.#held.set(index, [event]);
  }

  async #release(first: number, logprobs: readonly (TokenLogprob | null)[]): Promise<void> {
    for (let index = first; index < first + this.#perPrompt; index++) {
      await this.#echo(index, logprobs);
      this.#released.add(index);
      for (const event of this.#held.get(index) ?? []) this.#listener(index, event);
      this.#held.delete(index);
    }
  }
}
