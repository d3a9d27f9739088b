/**
 * Penalties and bias as one list of changes to single logits, which devices apply before they choose candidates.
 *
 * @module
 */
import type { SamplingParams } from "./params.ts";

/** logit → (logit > 0 ? logit / repetition : logit · repetition) + addend. */
export interface Adjustment {
  readonly token: number;
  readonly repetition: number;
  readonly addend: number;
}

const NONE: readonly Adjustment[] = [];

/** Keeps count of a sequence's tokens and says how logits must change. */
export class LogitAdjuster {
  readonly #params: SamplingParams;
  readonly #generated = new Map<number, number>();
  readonly #seen = new Set<number>();

  constructor(params: SamplingParams, prompt: readonly number[]) {
    this.#params = params;
    if (params.repetitionPenalty !== 1) { for (const token of prompt) this.#seen.add(token); }
  }

  /** Counts a generated token. */
  add(token: number): void {
    if (this.#params.repetitionPenalty !== 1) this.#seen.add(token);
    if (this.#params.presencePenalty !== 0 || this.#params.frequencyPenalty !== 0) {
      this.#generated.set(token, (this.#generated.get(token) ?? 0) + 1);
    }
  }

  /** The changes for the next token; at most one per token. */
  adjustments(): readonly Adjustment[] {
    if (this.#seen.size === 0 && this.#generated.size === 0 && this.#params.logitBias.size === 0) return NONE;
    const tokens = new Set([...this.#seen, ...this.#generated.keys(), ...this.#params.logitBias.keys()]);
    return [...tokens].map((token) => this.#adjustment(token)).filter(({ repetition, addend }) => repetition !== 1 || addend !== 0);
  }

  /** The logit before adjustment. */
  original(token: number, adjusted: number): number {
    const { repetition, addend } = this.#adjustment(token);
    const logit = adjusted - addend;
    return logit > 0 ? logit * repetition : logit / repetition;
  }

  #adjustment(token: number): Adjustment {
    const { presencePenalty, frequencyPenalty, repetitionPenalty, logitBias } = this.#params;
    const count = this.#generated.get(token) ?? 0;
    const penalty = count === 0 ? 0 : presencePenalty + frequencyPenalty * count;
    return { token, repetition: this.#seen.has(token) ? repetitionPenalty : 1, addend: (logitBias.get(token) ?? 0) - penalty };
  }
}
