/**
 * What clients send: requests on the wire, and their bodies.
 *
 * @module
 */
import { prepare } from "../../../cluster/text/prepare.ts";
import { openTextModel, type TextModel } from "../../../cluster/text/text_model.ts";
import { bodyDecoder } from "../../../core/http/body_decoder.ts";
import { endOfHead, parseRequestHead } from "../../../core/http/request_head.ts";
import { readTextSource } from "../../../core/text/text_source.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import type { Random } from "../../../bench/support/random.ts";
import { anyValue, mutateBytes, mutateJson, pick } from "../mutate.ts";
import { named, type Target } from "../target.ts";

const REQUESTS = [
  "GET /v1/models HTTP/1.1\r\nhost: localhost:8080\r\nconnection: keep-alive\r\n\r\n",
  'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\nExpect: 100-continue\r\n\r\n{"prompt":"x"}',
  "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nyou\r\n0\r\nx: y\r\n\r\n",
].map((text) => new TextEncoder().encode(text));

/** Requests as they come off the wire, in pieces. */
export const requests: Target = {
  name: "requests",
  async run(random) {
    const bytes = mutateBytes(random, pick(random, REQUESTS));
    await named(() => {
      const end = endOfHead(bytes, 0);
      if (end < 0) return;
      const decoder = bodyDecoder(parseRequestHead(bytes.slice(0, end)).body);
      let rest = bytes.subarray(end);
      while (rest.length > 0 && !decoder.done) {
        const { data, used } = decoder.push(rest.subarray(0, 1 + random.below(9)));
        if (data.length > used) throw new Error("more came out than went in");
        if (used === 0) throw new Error("nothing was used");
        rest = rest.subarray(used);
      }
    });
  },
};

const message = { role: "user", content: "What is a kettle?" };
const tool = {
  type: "function",
  function: { name: "boil", description: "Boils", parameters: { type: "object", properties: { litres: { type: "number" } } } },
};
const ITEM = { type: "message", id: "m", role: "assistant", content: [{ type: "output_text", text: "x" }] };
const MESSAGES = [
  { max_tokens: 3, messages: [{ role: "user", content: "x" }], system: [{ type: "text", text: "s" }], stop_sequences: ["x"], temperature: 1 },
  {
    max_tokens: 9,
    messages: [{ role: "user", content: "x" }, {
      role: "assistant",
      content: [{ type: "thinking", thinking: "x", signature: "" }, { type: "tool_use", id: "1", name: "f", input: { a: 1.0 } }],
    }, { role: "user", content: [{ type: "tool_result", tool_use_id: "1", content: [{ type: "text", text: "x" }], is_error: true }] }],
    tools: [{ name: "f", input_schema: { type: "object" }, strict: true }, { type: "web_search_20250305", name: "web_search" }],
    tool_choice: { type: "any", disable_parallel_tool_use: true },
    thinking: { type: "enabled", budget_tokens: 1024 },
    output_config: { effort: "low", format: { type: "json_schema", schema: {} } },
  },
];
const BODIES = {
  chat: [
    {
      messages: [message],
      temperature: 0,
      max_tokens: 5,
      stop: ["a", "b"],
      logit_bias: { 5: -100 },
      seed: 1,
      n: 2,
      stream: true,
      stream_options: { include_usage: true },
    },
    {
      messages: [{ role: "system", content: [{ type: "text", text: "s" }] }, message],
      tools: [tool],
      tool_choice: "required",
      parallel_tool_calls: true,
    },
    {
      messages: [message, { role: "assistant", tool_calls: [{ id: "1", type: "function", function: { name: "boil", arguments: "{}" } }] }, {
        role: "tool",
        content: "x",
        tool_call_id: "1",
      }],
    },
    {
      messages: [message],
      response_format: { type: "json_schema", json_schema: { name: "x", schema: { type: "object" }, strict: true } },
      logprobs: true,
      top_logprobs: 3,
    },
  ],
  completion: [
    { prompt: "It was", max_tokens: 3, echo: true, logprobs: 2, best_of: 2, n: 1 },
    { prompt: [[1, 2, 3], [4]], top_p: 0.9, top_k: 4, min_p: 0.1, presence_penalty: 1, frequency_penalty: 1, repetition_penalty: 1.1 },
    { prompt: ["a", "b"], stop: "x", user: "u", ignore_eos: true, return_token_ids: true },
  ],
  response: [
    { input: "x", instructions: "y", max_output_tokens: 3, metadata: { a: "b" }, text: { format: { type: "json_schema", name: "x", schema: {} } } },
    {
      input: [{ role: "user", content: [{ type: "input_text", text: "x" }] }, { type: "function_call", call_id: "c", name: "f", arguments: "{}" }],
      tools: [{ type: "function", name: "f" }, { type: "namespace", name: "n", tools: [{ type: "function", name: "g" }] }, { type: "web_search" }],
      tool_choice: { type: "allowed_tools", mode: "auto", tools: [{ type: "function", name: "f" }] },
    },
    {
      input: [ITEM, { type: "item_reference", id: "m" }, { type: "reasoning", summary: [{ type: "summary_text", text: "x" }] }],
      reasoning: { effort: "low" },
    },
  ],
  message: MESSAGES,
  messageTokens: MESSAGES,
  tokenize: [{ prompt: "What is", add_special_tokens: false }, { messages: [message] }],
  detokenize: [{ tokens: [1, 2, 3] }],
} as const;

let opened: TextModel | null = null;

async function model(): Promise<TextModel> {
  using files = new DirectoryFiles(fixtureDirectory("tiny-mla"));
  const context = { maxContext: 2048 };
  return opened ??= openTextModel({ id: "tiny-mla", vocabSize: 8192, context, source: await readTextSource(files) });
}

/** Bodies, as text processes take them. */
export const bodies: Target = {
  name: "bodies",
  async run(random) {
    const kind = pick(random, ["chat", "completion", "response", "message", "messageTokens", "tokenize", "detokenize"] as const);
    const text = new TextEncoder().encode(JSON.stringify(bodyOf(random, kind) ?? null));
    const bytes = random.below(10) === 0 ? mutateBytes(random, text) : text;
    const text_ = await model();
    const kept = random.below(2) === 0 ? null : { m: JSON.stringify(ITEM) };
    await named(() => kind === "response" ? prepare(text_, kind, { body: bytes, kept }) : prepare(text_, kind, bytes));
  },
};

function bodyOf(random: Random, kind: keyof typeof BODIES): unknown {
  return random.below(20) === 0 ? anyValue(random, 3) : mutateJson(random, pick<object>(random, BODIES[kind]));
}
