/**
 * `POST /v1/completions`.
 *
 * @module
 */
import type { Context } from "hono";
import type { ServedModel, TokenLogprob, TokenRequest } from "../../core/engine.ts";
import { collectChoices, runChoices, UsageMeter } from "./choices.ts";
import { CompletionLogprobs } from "./logprobs.ts";
import { type CompletionRequest, completionRequest, parseBody } from "./openai_schema.ts";
import { checkModel, tokenRequests } from "./requests.ts";
import { RequestAbort, streamEvents } from "./sse.ts";

/** OpenAI's default for this endpoint. */
const DEFAULT_MAX_TOKENS = 16;

/** One prompt as text and tokens. */
interface Prompt {
  readonly text: string;
  readonly tokens: readonly number[];
}

/** A choice's request and the prompt it belongs to. */
interface PlannedChoice {
  readonly prompt: Prompt;
  readonly request: TokenRequest;
}

/** Handles one request. */
export async function handleCompletion(c: Context, model: ServedModel, body: unknown, shutdown: AbortSignal): Promise<Response> {
  const request = parseBody(completionRequest, body);
  checkModel(model, request.model);
  const abort = new RequestAbort(c, shutdown);
  const prompts = promptsOf(model, request);
  const planned = prompts.flatMap((prompt) => planChoices(model, request, prompt, abort.signal));
  const base = { id: `cmpl-${crypto.randomUUID()}`, object: "text_completion", created: Math.floor(Date.now() / 1000), model: model.id };
  const meter = new UsageMeter({ promptTokens: promptTokens(prompts), choicesPerPrompt: request.n ?? 1 });
  if (request.stream) return streamEvents(abort, chunks(model, request, planned, base, meter, abort));

  const choices = await collectChoices(model, planned.map(({ request }) => request), request.stop ?? [], abort, meter);
  return c.json({
    ...base,
    choices: choices.map((choice, index) => {
      const { prompt } = planned[index];
      // Only a prompt's first choice computes its log-probabilities.
      const scored = choices[index - (index % (request.n ?? 1))].promptLogprobs;
      return {
        index,
        text: (request.echo ? prompt.text : "") + choice.text,
        logprobs: logprobsOf(new CompletionLogprobs(model.tokenizer), request, request.echo ? prompt.tokens : [], scored, choice),
        finish_reason: choice.finishReason,
        ...tokenIds(request, prompt, choice.tokens),
      };
    }),
    usage: meter.usage,
  });
}

async function* chunks(
  model: ServedModel,
  request: CompletionRequest,
  planned: readonly PlannedChoice[],
  base: object,
  meter: UsageMeter,
  abort: RequestAbort,
): AsyncGenerator<unknown> {
  const withUsage = request.stream_options?.include_usage ?? false;
  const usage = withUsage ? { usage: null } : {};
  const formatters = planned.map(() => new CompletionLogprobs(model.tokenizer));
  const started = new Set<number>();
  const scored = new Map<number, readonly (TokenLogprob | null)[]>();
  for await (const choiceEvent of runChoices(model, planned.map(({ request }) => request), request.stop ?? [], abort)) {
    meter.see(choiceEvent);
    const { index, event } = choiceEvent;
    if (event.kind === "prompt") {
      scored.set(index, event.logprobs);
      continue;
    }
    if (event.kind !== "piece") continue;
    const { prompt } = planned[index];
    const first = !started.has(index);
    started.add(index);
    const echo = first && request.echo;
    // The engine serves a prompt's choices in order, so the first one's scores are there.
    const promptLogprobs = echo ? scored.get(index - (index % (request.n ?? 1))) ?? [] : [];
    yield {
      ...base,
      choices: [{
        index,
        text: (echo ? prompt.text : "") + event.text,
        logprobs: logprobsOf(formatters[index], request, echo ? prompt.tokens : [], promptLogprobs, event),
        finish_reason: event.finishReason,
        ...tokenIds(request, first ? prompt : null, event.tokens),
      }],
      ...usage,
    };
  }
  if (withUsage) yield { ...base, choices: [], usage: meter.usage };
}

function promptsOf(model: ServedModel, { prompt }: CompletionRequest): Prompt[] {
  const list: readonly (string | number[])[] = typeof prompt === "string"
    ? [prompt]
    : typeof prompt[0] === "number"
    ? [prompt as number[]]
    : prompt as string[];
  return list.map((one) =>
    typeof one === "string"
      ? { text: one, tokens: model.tokenizer.encode(one, { special: true }) }
      : { text: model.tokenizer.decode(one, { skipSpecial: false }), tokens: one }
  );
}

function planChoices(model: ServedModel, request: CompletionRequest, prompt: Prompt, signal: AbortSignal): PlannedChoice[] {
  const logprobs = request.logprobs ?? null;
  const maxTokens = request.max_tokens ?? Math.min(DEFAULT_MAX_TOKENS, Math.max(1, model.engine.maxContext - prompt.tokens.length));
  const requests = tokenRequests(model, request, {
    prompt: prompt.tokens,
    maxTokens,
    logprobs,
    promptLogprobs: request.echo ? logprobs : null,
    signal,
  });
  return requests.map((request) => ({ prompt, request }));
}

function logprobsOf(
  formatter: CompletionLogprobs,
  request: CompletionRequest,
  promptTokens: readonly number[],
  promptLogprobs: readonly (TokenLogprob | null)[],
  generated: { readonly tokens: readonly number[]; readonly logprobs: readonly TokenLogprob[] },
) {
  if (request.logprobs === undefined) return null;
  return formatter.of([...promptTokens, ...generated.tokens], [...promptLogprobs, ...generated.logprobs]);
}

function tokenIds(request: CompletionRequest, prompt: Prompt | null, tokens: readonly number[]): object {
  if (!request.return_token_ids) return {};
  return { token_ids: tokens, ...(prompt === null ? {} : { prompt_token_ids: prompt.tokens }) };
}

function promptTokens(prompts: readonly Prompt[]): number {
  return prompts.reduce((sum, { tokens }) => sum + tokens.length, 0);
}
