/**
 * How model families mark reasoning.
 *
 * @module
 */

/** What surrounds reasoning. */
export interface ReasoningFormat {
  readonly begin: string;
  readonly end: string;
}

/** DeepSeek, GLM, Kimi, Youtu and most others. */
export const THINK: ReasoningFormat = { begin: "<think>", end: "</think>" };

/** Every known one: Magistral and later models of Mistral have brackets, MiniCPM3 thoughts. */
export const REASONING_FORMATS: readonly ReasoningFormat[] = [
  THINK,
  { begin: "[THINK]", end: "[/THINK]" },
  { begin: "<|thought_start|>", end: "<|thought_end|>" },
];
