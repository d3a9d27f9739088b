/**
 * What a client says that the answer may be like.
 *
 * @module
 */
import { HttpError } from "../api/errors.ts";
import type { Prediction } from "../api/openai_schema.ts";
import type { TextModel } from "./text_model.ts";

/** Its tokens; null: nothing is said. @throws {HttpError} 400 if no answer can be so long, or the vocabulary has no such token */
export function predictionOf({ tokenizer, context, vocabSize }: TextModel, prediction: Prediction): Uint32Array | null {
  if (prediction === undefined) return null;
  const { content } = prediction;
  const refuse = (problem: string) => new HttpError(400, problem, { param: "prediction", code: "invalid_value" });
  if (typeof content !== "string" && typeof content[0] === "number") {
    const tokens = content as number[];
    const outside = tokens.find((token) => token >= vocabSize);
    if (outside !== undefined) throw refuse(`Token ${outside} of the prediction is outside the vocabulary of ${vocabSize}`);
    return Uint32Array.from(tokens.slice(0, context.maxContext));
  }
  const text = typeof content === "string" ? content : (content as { readonly text: string }[]).map(({ text }) => text).join("");
  const least = tokenizer.leastTokens(text);
  if (least > context.maxContext) throw refuse(`The prediction has ${least} tokens or more, and the context ${context.maxContext}`);
  return Uint32Array.from(tokenizer.encode(text, { special: false }).slice(0, context.maxContext));
}
