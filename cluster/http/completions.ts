/**
 * `POST /v1/completions`.
 *
 * @module
 */
import type { Context } from "hono";
import type { ServedModel, TokenLogprob, TokenRequest } from "../../core/engine.ts";
import { type Choice, type ChoiceListener, collectChoices, runChoices, UsageMeter } from "./choices.ts";
import { HttpError } from "./errors.ts";
import { CompletionLogprobs } from "./logprobs.ts";
import { type CompletionRequest, completionRequest, parseBody } from "./openai_schema.ts";
import { checkModel, tokenRequests } from "./requests.ts";
import type { AppEnv, ServerContext } from "./server_context.ts";
import { RequestAbort, streamEvents } from "./sse.ts";

/** OpenAI's default for this endpoint. */
const DEFAULT_MAX_TOKENS = 16;

/** One prompt as text, where it is echoed, and tokens. */
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
export async function handleCompletion(c: Context<AppEnv>, server: ServerContext, body: unknown): Promise<Response> {
  const { model, shutdown } = server;
  const request = parseBody(completionRequest, body);
  checkModel(model, request.model);
  const perPrompt = choicesPerPrompt(request);
  const abort = new RequestAbort(c, shutdown);
  const prompts = await promptsOf(server, request);
  const planned = prompts.flatMap((prompt) => planChoices(model, request, prompt, { signal: abort.signal, client: c.get("client") }));
  const base = { id: `cmpl-${crypto.randomUUID()}`, object: "text_completion", created: Math.floor(Date.now() / 1000), model: model.id };
  const meter = new UsageMeter({ promptTokens: promptTokens(prompts), choicesPerPrompt: perPrompt });
  if (request.stream) return streamEvents(abort, (send) => sendChunks(model, request, planned, base, meter, abort, send));

  const choices = await collectChoices(model, planned.map(({ request }) => request), { stop: request.stop ?? [] }, abort, meter);
  // Only a prompt's first choice computes its log-probabilities.
  const scored = (index: number) => choices[index - (index % perPrompt)].promptLogprobs;
  return c.json({
    ...base,
    choices: bestChoices(choices, perPrompt, request.n ?? 1).map((which, index) => {
      const [choice, { prompt }] = [choices[which], planned[which]];
      return {
        index,
        text: (request.echo ? prompt.text : "") + choice.text,
        logprobs: logprobsOf(new CompletionLogprobs(model.tokenizer), request, request.echo ? prompt.tokens : [], scored(which), choice),
        finish_reason: choice.finishReason,
        ...tokenIds(request, prompt, choice.tokens),
      };
    }),
    usage: meter.usage,
  });
}

async function sendChunks(
  model: ServedModel,
  request: CompletionRequest,
  planned: readonly PlannedChoice[],
  base: object,
  meter: UsageMeter,
  abort: RequestAbort,
  send: (chunk: unknown) => void,
): Promise<void> {
  const withUsage = request.stream_options?.include_usage ?? false;
  const usage = withUsage ? { usage: null } : {};
  const formatters = planned.map(() => new CompletionLogprobs(model.tokenizer));
  const started = new Set<number>();
  const scored = new Map<number, readonly (TokenLogprob | null)[]>();
  const requests = planned.map(({ request }) => request);
  const listener = inScoredOrder(request, (index, event) => {
    meter.see(index, event);
    if (event.kind === "prompt") scored.set(index, event.logprobs);
    if (event.kind !== "piece") return;
    const { prompt } = planned[index];
    const first = !started.has(index);
    started.add(index);
    const echo = first && request.echo;
    const promptLogprobs = echo ? scored.get(index - (index % (request.n ?? 1))) ?? [] : [];
    send({
      ...base,
      choices: [{
        index,
        text: (echo ? prompt.text : "") + event.text,
        logprobs: logprobsOf(formatters[index], request, echo ? prompt.tokens : [], promptLogprobs, event),
        finish_reason: event.finishReason,
        ...tokenIds(request, first ? prompt : null, event.tokens),
      }],
      ...usage,
    });
  });
  await runChoices(model, requests, { stop: request.stop ?? [] }, abort, listener);
  if (withUsage) send({ ...base, choices: [], usage: meter.usage });
}

/** Holds a prompt's other choices back until its first one, which alone computes the prompt's log-probabilities, has brought them. */
function inScoredOrder({ echo, logprobs, n = 1 }: CompletionRequest, listener: ChoiceListener): ChoiceListener {
  if (!echo || logprobs === undefined || n === 1) return listener;
  const held = new Map<number, (() => void)[]>();
  const known = new Set<number>();
  return (index, event) => {
    const prompt = Math.floor(index / n);
    if (event.kind === "prompt") {
      known.add(prompt);
      listener(index, event);
      for (const tell of held.get(prompt) ?? []) tell();
    } else if (known.has(prompt) || event.kind === "prefilled") listener(index, event);
    else held.set(prompt, [...held.get(prompt) ?? [], () => listener(index, event)]);
  };
}

/** @throws {HttpError} 400 if `best_of` cannot be honoured */
function choicesPerPrompt({ n = 1, best_of: bestOf, stream }: CompletionRequest): number {
  if (bestOf === undefined) return n;
  const refuse = (problem: string) => new HttpError(400, `"best_of" ${problem}`, { param: "best_of", code: "invalid_value" });
  if (bestOf < n) throw refuse(`must be at least "n" (${n})`);
  if (bestOf > n && stream) throw refuse("cannot be streamed: the best choice is known only at the end");
  return bestOf;
}

/** Of every prompt's choices the best `wanted`, by mean log-probability of their tokens. */
function bestChoices(choices: readonly Choice[], perPrompt: number, wanted: number): number[] {
  const mean = ({ logprobs }: Choice) => logprobs.reduce((sum, { logprob }) => sum + logprob, 0) / Math.max(1, logprobs.length);
  const all = [...choices.keys()];
  if (perPrompt === wanted) return all;
  return Array.from({ length: choices.length / perPrompt }, (_, prompt) => all.slice(prompt * perPrompt, (prompt + 1) * perPrompt))
    .flatMap((of) => of.toSorted((a, b) => mean(choices[b]) - mean(choices[a]) || a - b).slice(0, wanted));
}

async function promptsOf({ model, encoder }: ServerContext, { prompt, echo }: CompletionRequest): Promise<Prompt[]> {
  const list: readonly (string | number[])[] = typeof prompt === "string"
    ? [prompt]
    : typeof prompt[0] === "number"
    ? [prompt as number[]]
    : prompt as string[];
  const texts = list.filter((one) => typeof one === "string");
  if (texts.length > 0) return (await encoder.encodeAll(texts, { special: true })).map((tokens, i) => ({ text: texts[i], tokens }));
  return (list as number[][]).map((tokens) => ({ text: echo ? model.tokenizer.decode(tokens, { skipSpecial: false }) : "", tokens }));
}

function planChoices(
  model: ServedModel,
  request: CompletionRequest,
  prompt: Prompt,
  { signal, client }: { readonly signal: AbortSignal; readonly client: string },
): PlannedChoice[] {
  const logprobs = request.logprobs ?? null;
  const choices = choicesPerPrompt(request);
  const maxTokens = request.max_tokens ?? Math.min(DEFAULT_MAX_TOKENS, Math.max(1, model.engine.maxContext - prompt.tokens.length));
  const requests = tokenRequests(model, request, {
    prompt: prompt.tokens,
    maxTokens,
    // The best ones are chosen by log-probability.
    logprobs: choices > (request.n ?? 1) ? logprobs ?? 0 : logprobs,
    promptLogprobs: request.echo ? logprobs : null,
    choices,
    client,
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
