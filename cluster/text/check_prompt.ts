/**
 * Whether a prompt and its answer fit the model.
 *
 * @module
 */
import { contextLimit, type ContextLimits } from "../../core/context_limit.ts";
import { HttpError } from "../api/errors.ts";
import type { TextModel } from "./text_model.ts";

/** Fields of requests that prompts come from. */
export type PromptField = "prompt" | "messages" | "input";

/**
 * @param maxTokens tokens to generate, and the field that says so; undefined: as many as there is room for, one at least
 * @throws {HttpError} 400 that says which limit is in the way, and what to change
 */
export function checkPrompt(
  { vocabSize, context }: Pick<TextModel, "vocabSize" | "context">,
  prompt: readonly number[] | Uint32Array,
  { from, maxTokens, maxField = "max_tokens" }: { readonly from: PromptField; readonly maxTokens: number | undefined; readonly maxField?: string },
): void {
  const refuse = (problem: string) => new HttpError(400, problem, { param: from, code: "invalid_value" });
  if (prompt.length === 0) throw refuse("The prompt is empty");
  const wanted = prompt.length + (maxTokens ?? 1);
  if (wanted > context.maxContext) {
    const problem = `${wanted} tokens were asked for (${prompt.length} in the prompt, ${maxTokens ?? 1} to generate)`;
    throw tooLong(problem, wanted, context, prompt.length < context.maxContext ? maxField : from);
  }
  const outside = prompt.find((token: number) => token >= vocabSize);
  if (outside !== undefined) throw refuse(`Token ${outside} is outside the vocabulary of ${vocabSize}`);
}

/**
 * Tokenises a text, unless it is so long that it cannot fit: that would take seconds for nothing.
 *
 * @throws {HttpError} 400
 */
export function encodeFitting(
  { tokenizer, context }: TextModel,
  text: string,
  { special, from }: { readonly special: boolean; readonly from: PromptField },
): number[] {
  const least = tokenizer.leastTokens(text);
  if (least > context.maxContext) throw tooLong(`The prompt has ${least} tokens or more`, least, context, from);
  return tokenizer.encode(text, { special });
}

function tooLong(problem: string, wanted: number, context: ContextLimits, param: string): HttpError {
  return new HttpError(400, `${problem}; ${contextLimit(wanted, context)}`, { param, code: "context_length_exceeded" });
}
