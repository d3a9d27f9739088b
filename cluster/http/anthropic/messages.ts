/**
 * `POST /v1/messages` and `POST /v1/messages/count_tokens`: Anthropic's API.
 *
 * @module
 */
import type { Context } from "hono";
import type { FinishReason } from "../../../core/engine.ts";
import type { AnswerParser } from "../../../core/text/answers/answer_parser.ts";
import type { TextOptions } from "../../../core/text/generate.ts";
import { answerParser, keptTokens } from "../../text/answer_form.ts";
import { partsOf } from "../../text/answer_sum.ts";
import type { PreparedMessage } from "../../text/jobs.ts";
import { runChoices, UsageMeter } from "../answers/choices.ts";
import { prepared } from "../answers/prepared.ts";
import { tokenRequests } from "../answers/requests.ts";
import { warned } from "../answers/warned.ts";
import { jsonResponse } from "../json.ts";
import { type AppEnv, ConstrainedRequests, type ServerContext } from "../server_context.ts";
import { NamedEvent, RequestAbort, streamEvents } from "../sse.ts";
import { newId } from "./ids.ts";
import { MessageBlocks } from "./message_blocks.ts";
import { anthropicError } from "./shapes.ts";

/** How many tokens a message would begin with. */
export async function handleCountTokens(c: Context<AppEnv>, server: Pick<ServerContext, "text" | "bodies">): Promise<Response> {
  return new Response(await prepared(c, server, "messageTokens"), { headers: { "content-type": "application/json" } });
}

/** Handles one request. */
export async function handleMessages(c: Context<AppEnv>, server: ServerContext): Promise<Response> {
  const { model } = server;
  const { request, conversation, warning } = await prepared(c, server, "message");
  const abort = new RequestAbort(c, server.shutdown);
  const room = Math.max(1, model.engine.maxContext - conversation.prompt.length);
  const { temperature, top_p, top_k, priority, speculate } = request;
  const requests = tokenRequests(
    model,
    { temperature, top_p, top_k, priority, speculate },
    {
      prompt: conversation.prompt,
      bias: null,
      maxTokens: Math.min(request.max_tokens, room),
      logprobs: null,
      promptLogprobs: null,
      client: c.get("client"),
      signal: abort.signal,
    },
  );
  const answer = new Answer({
    server,
    conversation,
    constrained: await ConstrainedRequests.create(server, requests, conversation.grammar),
    text: { stop: request.stop_sequences ?? [], kept: keptTokens(model) },
    cutByContext: request.max_tokens > room,
  });
  if (!request.stream) return warned(jsonResponse(await answer.whole(abort)), warning);
  const requestId = c.get("requestId");
  const failed = (error: unknown) => new NamedEvent("error", anthropicError(error, requestId));
  return warned(streamEvents(abort, (send) => answer.send(abort, send), { done: false, failed }), warning);
}

interface AnswerOptions {
  readonly server: ServerContext;
  readonly conversation: PreparedMessage["conversation"];
  readonly constrained: ConstrainedRequests;
  readonly text: TextOptions;
  /** Whether it is the context that ends an answer which is cut, and not what the client asked for. */
  readonly cutByContext: boolean;
}

/** Why an answer has ended. */
interface Ending {
  readonly stop_reason: string | null;
  readonly stop_sequence: string | null;
}

/** A message that is being answered. */
class Answer {
  readonly #options: AnswerOptions;
  readonly #id = newId("msg");
  readonly #meter: UsageMeter;
  readonly #parser: AnswerParser;

  constructor(options: AnswerOptions) {
    this.#options = options;
    this.#parser = answerParser(options.server.model, options.conversation);
    this.#meter = new UsageMeter({ promptTokens: options.conversation.prompt.length, choicesPerPrompt: 1 });
  }

  async whole(abort: RequestAbort): Promise<object> {
    const blocks = new MessageBlocks();
    const ending = await this.#run(blocks, abort);
    return { ...this.#message(), content: blocks.blocks, ...ending, usage: this.#usage };
  }

  async send(abort: RequestAbort, send: (event: NamedEvent) => void): Promise<void> {
    const event = (type: string, data: object) => send(new NamedEvent(type, { type, ...data }));
    const begun: Ending = { stop_reason: null, stop_sequence: null };
    event("message_start", { message: { ...this.#message(), content: [], ...begun, usage: this.#usage } });
    event("ping", {});
    const blocks = new MessageBlocks(event);
    const ending = await this.#run(blocks, abort);
    event("message_delta", { delta: { ...ending, stop_details: null, container: null }, usage: this.#usage });
    event("message_stop", {});
  }

  #message(): object {
    return { id: this.#id, type: "message", role: "assistant", model: this.#options.server.model.id };
  }

  async #run(blocks: MessageBlocks, abort: RequestAbort): Promise<Ending> {
    const { server: { model }, constrained, text } = this.#options;
    using _ = constrained;
    const parser = this.#parser;
    let ending: Ending = { stop_reason: null, stop_sequence: null };
    await runChoices(model, constrained.requests, text, abort, (index, event) => {
      this.#meter.see(index, event);
      if (event.kind !== "piece") return;
      const { finishReason, stopString } = event;
      for (const part of partsOf(parser, event)) blocks.take(part);
      if (finishReason !== null) ending = { stop_reason: this.#stopReason(parser, finishReason, stopString), stop_sequence: stopString };
    });
    blocks.end();
    return ending;
  }

  #stopReason(parser: AnswerParser, reason: FinishReason, stopString: string | null): string {
    if (reason === "length") return this.#options.cutByContext ? "model_context_window_exceeded" : "max_tokens";
    if (stopString !== null) return "stop_sequence";
    return parser.called && !parser.cut ? "tool_use" : "end_turn";
  }

  /** What was cached of the prompt counts by itself. */
  get #usage(): object {
    const { prompt_tokens: prompt, completion_tokens: generated, prompt_tokens_details: { cached_tokens: cached } } = this.#meter.usage;
    return {
      input_tokens: prompt - cached,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: cached,
      output_tokens: generated,
      output_tokens_details: { thinking_tokens: this.#parser.reasoningTokens },
      service_tier: "standard",
    };
  }
}
