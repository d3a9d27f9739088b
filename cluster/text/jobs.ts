/**
 * What text processes are asked to do. Bodies go there as they came; what comes back is small, flat, or in typed arrays, so that taking it in costs little.
 *
 * @module
 */
import type { Message, ReasoningEffort, ResponseFormatField, ToolChoiceField, ToolField } from "../api/conversation_schema.ts";
import type { ArgumentTypes } from "../../core/text/answers/argument_types.ts";
import type { GrammarParams, WrittenGrammar } from "../grammar/written_grammar.ts";
import type { GeneratingPath } from "../api/paths.ts";
import type { HttpErrorFields } from "../api/errors.ts";
import type { ChatRequest, CompletionRequest } from "../api/openai_schema.ts";
import type { MessagesRequest } from "../api/messages_schema.ts";
import type { ResponsesRequest } from "../api/responses_schema.ts";
import type { PromptField } from "./check_prompt.ts";
import type { TextModelSource } from "./text_model.ts";

/** `logit_bias`, which may name every token. */
export interface LogitBias {
  readonly tokens: Uint32Array;
  /** One for each token. */
  readonly values: Float64Array;
}

/** A rendered conversation, and what its answer looks like. */
export interface PreparedConversation {
  readonly prompt: Uint32Array;
  /** null: anything. */
  readonly grammar: WrittenGrammar | null;
  /** Whether tools may be called. */
  readonly tools: boolean;
  /** What their arguments may be, where the model writes texts as they are. */
  readonly types?: Readonly<Record<string, ArgumentTypes>>;
  /** Whether the answer reasons, and whether the prompt has begun that already. */
  readonly reasoning: "no" | "possible" | "begun";
}

/** The parts of a request that a prompt and its grammar are made of. */
export interface ConversationFields {
  readonly messages: readonly Message[];
  readonly tools?: readonly ToolField[];
  readonly tool_choice?: ToolChoiceField;
  readonly parallel_tool_calls?: boolean;
  readonly response_format?: ResponseFormatField;
  readonly add_generation_prompt?: boolean;
  readonly continue_final_message?: boolean;
  readonly reasoning_effort?: ReasoningEffort;
  readonly chat_template_kwargs?: Readonly<Record<string, unknown>>;
}

/** How a request calls the fields that {@link ConversationFields} come from: errors name what was sent. */
export interface FieldNames extends GrammarParams {
  readonly prompt: PromptField;
  /** What makes the last message go on. */
  readonly continues: string;
}

/** A chat request without what its prompt was made of. */
export interface PreparedChat {
  readonly request: Omit<ChatRequest, keyof ConversationFields | "logit_bias" | "prediction">;
  readonly bias: LogitBias | null;
  /** Tokens that the answer may be like. */
  readonly prediction: Uint32Array | null;
  readonly conversation: PreparedConversation;
}

/** A completion request without what its prompts were made of. */
export interface PreparedCompletion {
  readonly request: Omit<CompletionRequest, "prompt" | "logit_bias" | "prediction">;
  readonly bias: LogitBias | null;
  /** Tokens that every answer may be like. */
  readonly prediction: Uint32Array | null;
  readonly prompts: readonly { readonly text: string; readonly tokens: Uint32Array }[];
}

/** Functions of namespaces, by what the model calls them. */
export type Namespaces = Readonly<Record<string, { readonly namespace: string; readonly name: string }>>;

/** A request for a response. */
export interface ResponseBody {
  readonly body: Uint8Array<ArrayBuffer>;
  /** JSON of items that it refers to, by their names; null: they are not known yet. */
  readonly kept: Readonly<Record<string, string>> | null;
}

/** A request for a response, without what its prompt was made of. */
export interface PreparedResponse {
  readonly request: Pick<ResponsesRequest, "temperature" | "top_p" | "priority" | "speculate" | "max_output_tokens" | "stream">;
  readonly conversation: PreparedConversation;
  readonly namespaces: Namespaces;
  /** Fields of the response that say what was asked for, as JSON without the braces around it. */
  readonly echo: Uint8Array<ArrayBuffer>;
  /** What was left out of the request; null: nothing. */
  readonly warning: string | null;
  /** Whether its items may be kept for a while. */
  readonly store: boolean;
}

/** A request for a message of Anthropic's API, without what its prompt was made of. */
export interface PreparedMessage {
  readonly request: Pick<MessagesRequest, "max_tokens" | "temperature" | "top_p" | "top_k" | "stop_sequences" | "stream" | "priority" | "speculate">;
  readonly conversation: PreparedConversation;
  /** What was left out of the request; null: nothing. */
  readonly warning: string | null;
}

/** A request that goes on with what another cell has begun to answer. */
export interface PreparedContinuation {
  readonly path: GeneratingPath;
  /** The request as the other cell got it. */
  readonly body: Uint8Array<ArrayBuffer>;
  readonly seed: string;
  /** By choice. */
  readonly tokens: readonly Uint32Array[];
  /** See `cluster/api/continuation_schema.ts`. */
  readonly fingerprint?: string;
  readonly weights?: string;
}

/** What is given and what is gotten, by kind. */
export interface TextJobs {
  readonly chat: { readonly input: Uint8Array<ArrayBuffer>; readonly output: PreparedChat };
  readonly completion: { readonly input: Uint8Array<ArrayBuffer>; readonly output: PreparedCompletion };
  /** Of a request that refers to items, their names, unless they are given. */
  readonly response: { readonly input: ResponseBody; readonly output: PreparedResponse | { readonly references: readonly string[] } };
  readonly message: { readonly input: Uint8Array<ArrayBuffer>; readonly output: PreparedMessage };
  readonly continuation: { readonly input: Uint8Array<ArrayBuffer>; readonly output: PreparedContinuation };
  /** The whole answer, as JSON. */
  readonly messageTokens: { readonly input: Uint8Array<ArrayBuffer>; readonly output: Uint8Array<ArrayBuffer> };
  /** The whole answer, as JSON. */
  readonly tokenize: { readonly input: Uint8Array<ArrayBuffer>; readonly output: Uint8Array<ArrayBuffer> };
  /** The whole answer, as JSON. */
  readonly detokenize: { readonly input: Uint8Array<ArrayBuffer>; readonly output: Uint8Array<ArrayBuffer> };
  /** Tokens of texts, with what the tokenizer puts around them. */
  readonly encode: { readonly input: readonly string[]; readonly output: readonly Uint32Array[] };
}

/** Name of a job. */
export type TextJobKind = keyof TextJobs;

/** To a text process: what it serves, then jobs, one at a time. */
export type ToTextProcess =
  | { readonly kind: "model"; readonly model: TextModelSource }
  | { [K in TextJobKind]: { readonly kind: K; readonly input: TextJobs[K]["input"] } }[TextJobKind];

/** From a text process, one for each message. */
export type FromTextProcess =
  | { readonly kind: "ready" }
  | { readonly kind: "done"; readonly output: unknown }
  | { readonly kind: "failed"; readonly error: HttpErrorFields };
