/**
 * `POST /tokenize` and `POST /detokenize`, in vLLM's form.
 *
 * @module
 */
import type { Context } from "hono";
import type { ServedModel } from "../../core/engine.ts";
import { answerForm } from "./answer_form.ts";
import { HttpError } from "./errors.ts";
import { detokenizeRequest, parseBody, tokenizeRequest } from "./openai_schema.ts";
import { checkModel } from "./requests.ts";
import type { ServerContext } from "./server_context.ts";

/** Text or conversation → tokens. */
export async function handleTokenize(c: Context, server: ServerContext, body: unknown): Promise<Response> {
  const { model, encoder } = server;
  const request = parseBody(tokenizeRequest, body);
  checkModel(model, request.model);
  const tokens = "messages" in request
    ? (await answerForm(server, request)).prompt
    : await encoder.encode(request.prompt, { special: request.add_special_tokens ?? true });
  return c.json({ tokens, count: tokens.length, max_model_len: model.engine.maxContext });
}

/** Tokens → text. */
export function handleDetokenize(c: Context, model: ServedModel, body: unknown): Response {
  const request = parseBody(detokenizeRequest, body);
  checkModel(model, request.model);
  const outside = request.tokens.find((token) => token >= model.vocabSize);
  if (outside !== undefined) {
    throw new HttpError(400, `Token ${outside} is outside the vocabulary of ${model.vocabSize}`, { param: "tokens", code: "invalid_value" });
  }
  return c.json({ prompt: model.tokenizer.decode(request.tokens, { skipSpecial: false }) });
}
