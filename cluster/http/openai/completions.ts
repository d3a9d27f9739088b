/**
 * `POST /v1/completions`.
 *
 * @module
 */
import type { Context } from "hono";
import type { ServedModel, TokenLogprob, TokenRequest } from "../../../core/engine.ts";
import type { TextEvent, TextOptions } from "../../../core/text/generate.ts";
import { DEFAULT_MAX_TOKENS } from "../../api/openai_schema.ts";
import type { PreparedCompletion } from "../../text/jobs.ts";
import { type Choice, collectChoices, runChoices, UsageMeter } from "../answers/choices.ts";
import { HeldChoices } from "./held_choices.ts";
import { jsonResponse } from "../json.ts";
import { CompletionLogprobsWriter, LOGPROBS_RUN, type ScoredToken } from "./logprobs.ts";
import { prepared } from "../answers/prepared.ts";
import { tokenRequests } from "../answers/requests.ts";
import type { AppEnv, ServerContext } from "../server_context.ts";
import { Slices } from "../slices.ts";
import { RequestAbort, streamEvents } from "../sse.ts";

/** A choice's request and the text of its prompt, where that is echoed. */
interface PlannedChoice {
  readonly text: string;
  readonly request: TokenRequest;
}

/** Completions that are being computed. */
interface CompletionWork {
  readonly model: ServedModel;
  readonly request: PreparedCompletion["request"];
  readonly planned: readonly PlannedChoice[];
  /** Choices that are generated for each prompt; `best_of` asks for more than are answered. */
  readonly perPrompt: number;
  readonly base: object;
  readonly meter: UsageMeter;
}

/** Handles one request. */
export async function handleCompletion(c: Context<AppEnv>, server: ServerContext): Promise<Response> {
  const { model } = server;
  const { request, bias, prompts } = await prepared(c, server, "completion");
  const perPrompt = request.best_of ?? request.n ?? 1;
  const abort = new RequestAbort(c, server.shutdown);
  const planned: PlannedChoice[] = [];
  const slices = new Slices();
  for (const prompt of prompts) {
    planned.push(...planChoices(model, { request, bias }, prompt, { perPrompt, signal: abort.signal, client: c.get("client") }));
    await slices.breathe();
  }
  const base = { id: `cmpl-${crypto.randomUUID()}`, object: "text_completion", created: Math.floor(Date.now() / 1000), model: model.id };
  const promptTokens = prompts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const work: CompletionWork = { model, request, planned, perPrompt, base, meter: new UsageMeter({ promptTokens, choicesPerPrompt: perPrompt }) };
  return request.stream ? streamEvents(abort, (send) => sendChunks(work, abort, send)) : jsonResponse(await whole(work, abort));
}

function stopsOf({ stop, include_stop_str_in_output }: CompletionWork["request"]): TextOptions {
  return { stop: stop ?? [], includeStop: include_stop_str_in_output };
}

async function whole({ model, request, planned, perPrompt, base, meter }: CompletionWork, abort: RequestAbort): Promise<object> {
  const choices = await collectChoices(model, planned.map(({ request }) => request), stopsOf(request), abort, meter);
  const slices = new Slices();
  const answers: object[] = [];
  for (const which of bestChoices(choices, perPrompt, request.n ?? 1)) {
    const [choice, { text, request: { prompt } }] = [choices[which], planned[which]];
    // Only a prompt's first choice computes its log-probabilities.
    const { promptLogprobs } = choices[which - (which % perPrompt)];
    const scored = () => [...(request.echo ? scoredTokens(prompt, promptLogprobs) : []), ...scoredTokens(choice.tokens, choice.logprobs)];
    answers.push({
      index: answers.length,
      text: (request.echo ? text : "") + choice.text,
      logprobs: request.logprobs === undefined ? null : await new CompletionLogprobsWriter(model.tokenizer).writeWhole(scored(), slices),
      finish_reason: choice.finishReason,
      ...tokenIds(request, prompt, choice.tokens),
    });
  }
  return { ...base, choices: answers, usage: meter.usage };
}

async function sendChunks(
  { model, request, planned, perPrompt, base, meter }: CompletionWork,
  abort: RequestAbort,
  send: (chunk: unknown) => void,
): Promise<void> {
  const withUsage = request.stream_options?.include_usage ?? false;
  const usage = withUsage ? { usage: null } : {};
  const writers = planned.map(() => new CompletionLogprobsWriter(model.tokenizer));
  const logprobsOf = (index: number, scored: readonly ScoredToken[]) => request.logprobs === undefined ? null : writers[index].write(scored);
  const started = new Set<number>();
  /** The prompt of a choice, if nothing of that has been sent. */
  const begin = (index: number): PlannedChoice | null => {
    if (started.has(index)) return null;
    started.add(index);
    return planned[index];
  };
  const piece = (index: number, event: TextEvent) => {
    meter.see(index, event);
    if (event.kind !== "piece") return;
    const begun = begin(index);
    const choice = {
      index,
      text: (request.echo && begun !== null ? begun.text : "") + event.text,
      logprobs: logprobsOf(index, scoredTokens(event.tokens, event.logprobs)),
      finish_reason: event.finishReason,
      ...tokenIds(request, begun?.request.prompt ?? null, event.tokens),
    };
    send({ ...base, choices: [choice], ...usage });
  };
  /** A prompt's log-probabilities, in events of their own: they may be many. */
  const echo = async (index: number, promptLogprobs: readonly (TokenLogprob | null)[]) => {
    const slices = new Slices();
    const scored = scoredTokens(planned[index].request.prompt, promptLogprobs);
    for (let at = 0; at < scored.length; at += LOGPROBS_RUN) {
      const begun = begin(index);
      const logprobs = logprobsOf(index, scored.slice(at, at + LOGPROBS_RUN));
      const choice = { index, text: begun?.text ?? "", logprobs, finish_reason: null, ...tokenIds(request, begun?.request.prompt ?? null, []) };
      send({ ...base, choices: [choice], ...usage });
      await slices.breathe();
    }
  };
  const held = request.echo && request.logprobs !== undefined ? new HeldChoices(perPrompt, echo, piece) : null;
  const listener = held === null ? piece : (index: number, event: TextEvent) => held.take(index, event);
  await runChoices(model, planned.map(({ request }) => request), stopsOf(request), abort, listener);
  await held?.released;
  if (withUsage) send({ ...base, choices: [], usage: meter.usage });
}

/** Of every prompt's choices the best `wanted`, by mean log-probability of their tokens. */
function bestChoices(choices: readonly Choice[], perPrompt: number, wanted: number): number[] {
  const mean = ({ logprobs }: Choice) => logprobs.reduce((sum, { logprob }) => sum + logprob, 0) / Math.max(1, logprobs.length);
  const all = [...choices.keys()];
  if (perPrompt === wanted) return all;
  return Array.from({ length: choices.length / perPrompt }, (_, prompt) => all.slice(prompt * perPrompt, (prompt + 1) * perPrompt))
    .flatMap((of) => of.toSorted((a, b) => mean(choices[b]) - mean(choices[a]) || a - b).slice(0, wanted));
}

function planChoices(
  model: ServedModel,
  { request, bias }: Pick<PreparedCompletion, "request" | "bias">,
  prompt: PreparedCompletion["prompts"][number],
  { perPrompt, signal, client }: { readonly perPrompt: number; readonly signal: AbortSignal; readonly client: string },
): PlannedChoice[] {
  const logprobs = request.logprobs ?? null;
  const maxTokens = request.max_tokens ?? Math.min(DEFAULT_MAX_TOKENS, Math.max(1, model.engine.maxContext - prompt.tokens.length));
  const requests = tokenRequests(model, request, {
    prompt: prompt.tokens,
    bias,
    maxTokens,
    // The best ones are chosen by log-probability.
    logprobs: perPrompt > (request.n ?? 1) ? logprobs ?? 0 : logprobs,
    promptLogprobs: request.echo ? logprobs : null,
    choices: perPrompt,
    client,
    signal,
  });
  return requests.map((request) => ({ text: prompt.text, request }));
}

/** Tokens with their log-probabilities, as far as there are any. */
function scoredTokens(tokens: readonly number[], logprobs: readonly (TokenLogprob | null)[]): ScoredToken[] {
  return tokens.map((token, i) => [token, logprobs[i] ?? null]);
}

function tokenIds(request: CompletionWork["request"], prompt: readonly number[] | null, tokens: readonly number[]): object {
  if (!request.return_token_ids) return {};
  return { token_ids: tokens, ...(prompt === null ? {} : { prompt_token_ids: prompt }) };
}
