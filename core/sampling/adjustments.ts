/**
 * Penalties and bias as changes to single logits, which devices apply before they choose candidates.
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

/** How one sequence's logits change. Both lists only ever grow at their ends, so that whoever knows a part needs no more than the rest. */
export interface Adjustments {
  /** By bias, and by penalties for the prompt: at most one for each token, the same list for all choices of a request and for as long as it lives. */
  readonly base: readonly Adjustment[];
  /** By penalties for what was generated, in that order. The last one of a token counts, instead of others of it here and in the base. */
  readonly log: readonly Adjustment[];
}

/** Logits as they are. */
export const UNADJUSTED: Adjustments = { base: [], log: [] };

/** What all choices of a request have in common. */
interface Shared {
  readonly prompt: readonly number[];
  readonly seen: ReadonlySet<number>;
  readonly base: readonly Adjustment[];
}

const shared = new WeakMap<SamplingParams, Shared>();

/** Keeps count of a sequence's tokens and says how logits must change. */
export class LogitAdjuster implements Adjustments {
  readonly base: readonly Adjustment[];
  readonly log: Adjustment[] = [];
  readonly #params: SamplingParams;
  /** Tokens of the prompt, where it matters. */
  readonly #seen: ReadonlySet<number>;
  readonly #generated = new Map<number, number>();

  constructor(params: SamplingParams, prompt: readonly number[]) {
    this.#params = params;
    const { seen, base } = sharedOf(params, prompt);
    this.#seen = seen;
    this.base = base;
  }

  /** Whether there is anything to change. */
  get empty(): boolean {
    return this.base.length + this.log.length === 0;
  }

  /** Counts a generated token. */
  add(token: number): void {
    if (!this.#counts) return;
    const before = this.#adjustment(token);
    this.#generated.set(token, (this.#generated.get(token) ?? 0) + 1);
    const after = this.#adjustment(token);
    if (differ(before, after)) this.log.push(after);
  }

  /** What would change if these tokens were generated next, the last one of a token; nothing is counted. */
  after(tokens: readonly number[]): readonly Adjustment[] {
    if (!this.#counts) return [];
    const more = new Map<number, number>();
    const changes = new Map<number, Adjustment>();
    for (const token of tokens) {
      more.set(token, (more.get(token) ?? 0) + 1);
      const [before, after] = [this.#adjustment(token), this.#adjustment(token, more.get(token))];
      if (differ(before, after)) changes.set(token, after);
      // Penalties may cancel each other: what the occurrence before would have changed is undone.
      else changes.delete(token);
    }
    return [...changes.values()];
  }

  /** The logit before adjustment. */
  original(token: number, adjusted: number): number {
    const { repetition, addend } = this.#adjustment(token);
    const logit = adjusted - addend;
    return logit > 0 ? logit * repetition : logit / repetition;
  }

  /** Whether it matters what was generated. */
  get #counts(): boolean {
    const { presencePenalty, frequencyPenalty, repetitionPenalty } = this.#params;
    return presencePenalty !== 0 || frequencyPenalty !== 0 || repetitionPenalty !== 1;
  }

  /** @param more times that it is generated besides */
  #adjustment(token: number, more = 0): Adjustment {
    const { presencePenalty, frequencyPenalty, repetitionPenalty, logitBias } = this.#params;
    const count = (this.#generated.get(token) ?? 0) + more;
    const penalty = count === 0 ? 0 : presencePenalty + frequencyPenalty * count;
    const repetition = count > 0 || this.#seen.has(token) ? repetitionPenalty : 1;
    return { token, repetition, addend: (logitBias.get(token) ?? 0) - penalty };
  }
}

function differ(one: Adjustment, other: Adjustment): boolean {
  return one.repetition !== other.repetition || one.addend !== other.addend;
}

const NONE: ReadonlySet<number> = new Set();

/** A set of a long prompt's tokens takes milliseconds to make; most of them come again and again. */
function distinct(tokens: readonly number[]): ReadonlySet<number> {
  const there = new Uint8Array(tokens.reduce((most, token) => Math.max(most, token), 0) + 1);
  const seen = new Set<number>();
  for (const token of tokens) {
    if (there[token] === 1) continue;
    there[token] = 1;
    seen.add(token);
  }
  return seen;
}

function sharedOf(params: SamplingParams, prompt: readonly number[]): Shared {
  const known = shared.get(params);
  if (known?.prompt === prompt) return known;
  const { repetitionPenalty, logitBias } = params;
  const seen = repetitionPenalty === 1 ? NONE : distinct(prompt);
  const base = [...new Set([...seen, ...logitBias.keys()])]
    .map((token): Adjustment => ({ token, repetition: seen.has(token) ? repetitionPenalty : 1, addend: logitBias.get(token) ?? 0 }))
    .filter(({ repetition, addend }) => repetition !== 1 || addend !== 0);
  const made = { prompt, seen, base };
  shared.set(params, made);
  return made;
}

/** Everything in one list, at most one for each token. */
export function mergeAdjustments({ base, log }: Adjustments): Adjustment[] {
  return [...new Map([...base, ...log].map((adjustment) => [adjustment.token, adjustment])).values()];
}
