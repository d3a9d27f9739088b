/**
 * Sampling parameters of one request, already checked.
 *
 * @module
 */

/** How tokens are drawn. */
export interface SamplingParams {
  /** 0: always the most probable token. */
  readonly temperature: number;
  /** Keep the smallest set of most probable tokens whose probability reaches this; 1: off. */
  readonly topP: number;
  /** Keep this many most probable tokens; 0: off. */
  readonly topK: number;
  /** Keep tokens at least this fraction as probable as the best; 0: off. */
  readonly minP: number;
  /** Subtracted from the logit of every token generated before. */
  readonly presencePenalty: number;
  /** Subtracted once for each time the token was generated before. */
  readonly frequencyPenalty: number;
  /** Divides positive and multiplies negative logits of tokens in prompt or output; 1: off. */
  readonly repetitionPenalty: number;
  /** Added to logits, by token id. */
  readonly logitBias: ReadonlyMap<number, number>;
  /** Same seed and same request give the same tokens, whatever else is in the batch. */
  readonly seed: number | bigint;
}

/** Greedy, nothing else. */
export const GREEDY: SamplingParams = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  logitBias: new Map(),
  seed: 0,
};

/** Below this, the most probable token is drawn anyway, and what logits are multiplied by comes near what numbers hold. */
const LEAST_TEMPERATURE = 1e-5;

/** True if nothing is drawn: the most probable token is taken. */
export function isGreedy({ temperature }: SamplingParams): boolean {
  return temperature < LEAST_TEMPERATURE;
}

/** True if every token may be drawn, which the device can do by itself. */
export function isUnrestricted(params: SamplingParams): boolean {
  return !isGreedy(params) && params.topP >= 1 && params.topK === 0 && params.minP === 0;
}

/** What logits are multiplied by. */
export function inverseTemperature(params: SamplingParams): number {
  return isGreedy(params) ? 1 : Math.fround(1 / params.temperature);
}
