/**
 * `POST /v1/completions`.
 *
 * @module
 */
import type { Context } from "hono";
import type { ServedModel, TokenLogprob, TokenRequest } from "../../../core/engine.ts";
import { isShown } from "../../../core/text/detokenizer.ts";
import type { TextEvent, TextOptions } from "../../../core/text/generate.ts";
import { DEFAULT_MAX_TOKENS } from "../../api/openai_schema.ts";
import type { PreparedCompletion } from "../../text/jobs.ts";
import { type Choice, collectChoices, runChoices, UsageMeter } from "../answers/choices.ts";
import { HeldChoices } from "./held_choices.ts";
import { jsonResponse } from "../json.ts";
import { CompletionLogprobsWriter, LOGPROBS_RUN, promptLogprobs, type ScoredToken } from "./logprobs.ts";
import { prepared } from "../answers/prepared.ts";
import { tokenRequests } from "../answers/requests.ts";
import type { AppEnv, ServerContext } from "../server_context.ts";
import { Slices } from "../../../core/slices.ts";
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
  const { request, bias, prediction, prompts } = await prepared(c, server, "completion");
  const perPrompt = request.best_of ?? request.n ?? 1;
  const abort = new RequestAbort(c, server.shutdown);
  const planned: PlannedChoice[] = [];
  const slices = new Slices();
  for (const prompt of prompts) {
    planned.push(...planChoices(model, { request, bias, prediction }, prompt, { perPrompt, signal: abort.signal, client: c.get("client") }));
    await slices.breathe();
  }
  const base = { id: `cmpl-${c.get("names").nextUuid()}`, object: "text_completion", created: c.get("names").created, model: model.id };
  const promptTokens = prompts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const work: CompletionWork = { model, request, planned, perPrompt, base, meter: new UsageMeter({ promptTokens, choicesPerPrompt: perPrompt }) };
  return request.stream ? streamEvents(abort, (send) => sendChunks(work, abort, send)) : jsonResponse(await whole(work, abort));
}

function textOptions({ stop, include_stop_str_in_output, skip_special_tokens }: CompletionWork["request"]): TextOptions {
  return { stop: stop ?? [], includeStop: include_stop_str_in_output, kept: skip_special_tokens === false ? "all" : undefined };
}

async function whole(work: CompletionWork, abort: RequestAbort): Promise<object> {
  const { model, request, planned, perPrompt, base, meter } = work;
  const choices = await collectChoices(
    model,
    planned.map(({ request }) => request),
    textOptions(request),
    abort,
    (index, event) => meter.see(index, event),
  );
  const slices = new Slices();
  const answers: object[] = [];
  const { prompt_logprobs: most } = request;
  /** Of each prompt, by its first choice; its other choices repeat them. */
  const ofPrompts = new Map<number, readonly (object | null)[]>();
  for (const which of bestChoices(choices, perPrompt, request.n ?? 1)) {
    const [choice, plan] = [choices[which], planned[which]];
    const { prompt } = plan.request;
    // Only a prompt's first choice computes its log-probabilities.
    const first = which - (which % perPrompt);
    const { promptLogprobs: ofPrompt } = choices[first];
    const text = (request.echo ? plan.text : "") + choice.text;
    if (most !== undefined && !ofPrompts.has(first)) {
      ofPrompts.set(first, await promptLogprobs(model.tokenizer, prompt, ofPrompt, { most, slices }));
    }
    const scored = function* () {
      if (request.echo) yield* scoredPrompt(model, plan, ofPrompt, request.logprobs!);
      yield* inRuns(choice.tokens.length, (from, to) => scoredAnswer(work, choice.tokens.slice(from, to), choice.logprobs.slice(from, to)));
    };
    answers.push({
      index: answers.length,
      text,
      logprobs: request.logprobs === undefined ? null : await new CompletionLogprobsWriter(model.tokenizer).writeWhole(scored(), text.length, slices),
      finish_reason: choice.finishReason,
      ...most === undefined ? {} : { prompt_logprobs: ofPrompts.get(first)! },
      ...tokenIds(request, prompt, choice.tokens),
    });
  }
  return { ...base, choices: answers, usage: meter.usage };
}

async function sendChunks(work: CompletionWork, abort: RequestAbort, send: (chunk: unknown) => void): Promise<void> {
  const { model, request, planned, perPrompt, base, meter } = work;
  const withUsage = request.stream_options?.include_usage ?? false;
  const usage = withUsage ? { usage: null } : {};
  const writers = planned.map(() => new CompletionLogprobsWriter(model.tokenizer));
  const lengths = planned.map(() => 0);
  const logprobsOf = (index: number, scored: () => readonly ScoredToken[], text: string) => {
    lengths[index] += text.length;
    return request.logprobs === undefined ? null : writers[index].write(scored(), lengths[index]);
  };
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
    const text = (request.echo && begun !== null ? begun.text : "") + event.text;
    const choice = {
      index,
      text,
      logprobs: logprobsOf(index, () => scoredAnswer(work, event.tokens, event.logprobs), text),
      finish_reason: event.finishReason,
      ...tokenIds(request, begun?.request.prompt ?? null, event.tokens),
    };
    send({ ...base, choices: [choice], ...usage });
  };
  /** A prompt's log-probabilities, in events of their own: they may be many. */
  const echo = async (index: number, promptLogprobs: readonly (TokenLogprob | null)[]) => {
    const slices = new Slices();
    for (const run of scoredPrompt(model, planned[index], promptLogprobs, request.logprobs!)) {
      const begun = begin(index);
      const text = begun?.text ?? "";
      const logprobs = logprobsOf(index, () => run, text);
      const choice = { index, text, logprobs, finish_reason: null, ...tokenIds(request, begun?.request.prompt ?? null, []) };
      send({ ...base, choices: [choice], ...usage });
      await slices.breathe();
    }
  };
  const held = request.echo && request.logprobs !== undefined ? new HeldChoices(perPrompt, echo, piece) : null;
  const listener = held === null ? piece : (index: number, event: TextEvent) => held.take(index, event);
  await runChoices(model, planned.map(({ request }) => request), textOptions(request), abort, listener);
  await held?.released;
  if (withUsage) send({ ...base, choices: [], usage: meter.usage });
}

/** Of every prompt's choices the best `wanted`, by mean log-probability of their tokens. */
function bestChoices(choices: readonly Choice[], perPrompt: number, wanted: number): number[] {
  const all = [...choices.keys()];
  if (perPrompt === wanted) return all;
  const means = choices.map(({ logprobs }) => logprobs.reduce((sum, { logprob }) => sum + logprob, 0) / Math.max(1, logprobs.length));
  return Array.from({ length: choices.length / perPrompt }, (_, prompt) => all.slice(prompt * perPrompt, (prompt + 1) * perPrompt))
    .flatMap((of) => of.toSorted((a, b) => means[b] - means[a] || a - b).slice(0, wanted));
}

function planChoices(
  model: ServedModel,
  { request, bias, prediction }: Pick<PreparedCompletion, "request" | "bias" | "prediction">,
  prompt: PreparedCompletion["prompts"][number],
  { perPrompt, signal, client }: { readonly perPrompt: number; readonly signal: AbortSignal; readonly client: string },
): PlannedChoice[] {
  const logprobs = request.logprobs ?? null;
  const maxTokens = request.max_tokens ?? Math.min(DEFAULT_MAX_TOKENS, Math.max(1, model.engine.maxContext - prompt.tokens.length));
  const requests = tokenRequests(model, request, {
    prompt: prompt.tokens,
    bias,
    prediction,
    maxTokens,
    // The best ones are chosen by log-probability.
    logprobs: perPrompt > (request.n ?? 1) ? logprobs ?? 0 : logprobs,
    promptLogprobs: mostOf(request.echo ? logprobs : null, request.prompt_logprobs ?? null),
    choices: perPrompt,
    client,
    signal,
  });
  return requests.map((request) => ({ text: prompt.text, request }));
}

/** The larger of two numbers, of which there may be none. */
function mostOf(a: number | null, b: number | null): number | null {
  return a === null || b === null ? a ?? b : Math.max(a, b);
}

/** An answer's tokens with their log-probabilities. The text has no place for what ends it, and for special tokens if they are shown only. */
function scoredAnswer(
  { model: { tokenizer }, planned, request }: CompletionWork,
  tokens: readonly number[],
  logprobs: readonly TokenLogprob[],
): ScoredToken[] {
  const { stopTokens } = planned[0].request;
  const { kept = new Set() } = textOptions(request);
  return tokens.map((token, i) => [token, logprobs[i] ?? null, !stopTokens.has(token) && isShown(tokenizer, kept, token)]);
}

/**
 * A prompt's tokens with their log-probabilities, and as many of the best as are wanted, in runs that are made when they are wanted. What the tokenizer has put around
 * its text is not part of that.
 */
function scoredPrompt(
  { tokenizer }: ServedModel,
  { text, request: { prompt } }: PlannedChoice,
  logprobs: readonly (TokenLogprob | null)[],
  most: number,
): Generator<ScoredToken[]> {
  const contentOf = (token: number) => tokenizer.decode([token], { skipSpecial: false });
  const added = (token: number, i: number) =>
    tokenizer.isSpecial(token) &&
    (i === 0 && !text.startsWith(contentOf(token)) || i > 0 && i === prompt.length - 1 && !text.endsWith(contentOf(token)));
  return inRuns(prompt.length, (from, to) =>
    prompt.slice(from, to).map((token, i): ScoredToken => {
      const logprob = logprobs[from + i] ?? null;
      return [token, logprob === null ? null : { ...logprob, top: logprob.top.slice(0, most) }, !added(token, from + i)];
    }));
}

/** So many tokens, in runs that are written at a time. */
function* inRuns(length: number, run: (from: number, to: number) => ScoredToken[]): Generator<ScoredToken[]> {
  for (let at = 0; at < length; at += LOGPROBS_RUN) yield run(at, at + LOGPROBS_RUN);
}

function tokenIds(request: CompletionWork["request"], prompt: readonly number[] | null, tokens: readonly number[]): object {
  if (!request.return_token_ids) return {};
  return { token_ids: tokens, ...(prompt === null ? {} : { prompt_token_ids: prompt }) };
}
