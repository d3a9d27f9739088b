/**
 * The `@anthropic-ai/sdk` package, unmodified, against a server whose model follows a script.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import Anthropic from "npm:@anthropic-ai/sdk@1.14.0";
import { serveModel } from "../../bench/support/server.ts";
import { scriptedModel } from "../support/scripted_model.ts";

const KEY = "a-key-of-the-tests";
const WEATHER = {
  name: "get_weather",
  description: "What the weather will be",
  input_schema: { type: "object" as const, properties: { city: { type: "string" }, days: { type: "number" } }, required: ["city"] },
};
const call = (city: string) => `<tool_call>\n{"name": "get_weather", "arguments": {"city": "${city}", "days": 1.0}}\n</tool_call>`;

/** Prompts and what is said to them; the first that is part of the prompt counts. */
const SCRIPT: readonly (readonly [part: string, answer: string])[] = [
  ["fail", ""],
  ["<tool_call>", "Rain in both."],
  ["Weather in two", `<think>Two cities.</think>\n\nLet me see.\n${call("Oslo")}\n${call("Zürich")}`],
  ["Weather", call("Oslo")],
  ["Count", "one two three four"],
  ["on and on", "la la…"],
  ["A JSON", `{"kind": "pot"}`],
  ["The kettle is", " warm."],
  ["", "A kettle."],
];

describe("anthropic client", () => {
  const prompts: string[] = [];
  let left: AbortSignal;
  let server: { readonly url: string; close(): Promise<void> };
  let client: Anthropic;
  beforeAll(async () => {
    const model = await scriptedModel((prompt, { signal }) => {
      prompts.push(prompt);
      left = signal;
      const [part, answer] = SCRIPT.find(([part]) => prompt.includes(part))!;
      if (part === "fail") throw new Error("the engine has failed");
      return answer;
    }, { maxContext: 512 });
    server = await serveModel(model, { apiKeys: [KEY] });
    client = new Anthropic({ baseURL: server.url, apiKey: KEY, maxRetries: 0 });
  });
  afterAll(() => server.close());

  const model = "scripted";
  const user = (content: string) => ({ role: "user" as const, content });
  /** @param more what it knows, and what older versions of it knew */
  const ask = (content: string, more: Partial<Anthropic.MessageCreateParamsNonStreaming> & Record<string, unknown> = {}) =>
    client.messages.create({ model, max_tokens: 200, messages: [user(content)], ...more });

  it("is answered, with a system prompt in parts, and tokens counted with what was cached", async () => {
    const cached = { type: "ephemeral" as const };
    const system = [{ type: "text" as const, text: "Be brief.", cache_control: cached }, { type: "text" as const, text: "Be kind." }];
    const answer = await ask("What is a kettle?", { system, metadata: { user_id: "u" }, temperature: 0, top_k: 5 });
    assertEquals([answer.type, answer.role, answer.model, answer.stop_reason], ["message", "assistant", "scripted", "end_turn"]);
    assertEquals(answer.content, [{ type: "text", text: "A kettle." } as Anthropic.TextBlock]);
    assertEquals(prompts.at(-1), "[system]Be brief.\n\nBe kind.[user]What is a kettle?[assistant]");
    const { input_tokens: rest, cache_read_input_tokens: read, output_tokens: generated } = answer.usage;
    const counted = await client.messages.countTokens({ model, messages: [user("What is a kettle?")], system });
    assertEquals([rest + read!, generated > 2], [counted.input_tokens, true]);
    assert(/^req_/.test(answer._request_id!), "named");
  });

  it("streams the events that it knows, in their order", async () => {
    const types: string[] = [];
    const stream = client.messages.stream({ model, max_tokens: 200, messages: [user("Weather in two?")], tools: [WEATHER] });
    stream.on("streamEvent", (event) => types.push(event.type === "content_block_delta" ? event.delta.type : event.type));
    const { content, stop_reason, usage } = await stream.finalMessage();
    const input = (city: string) => ({ city, days: 1 });
    const calls = content.filter((block) => block.type === "tool_use");
    assertEquals(content.slice(0, 2), [{ type: "thinking", thinking: "Two cities.", signature: "" }, {
      type: "text",
      text: "Let me see.\n",
    } as Anthropic.TextBlock]);
    assertEquals(calls.map(({ name, input }) => ({ name, input })), ["Oslo", "Zürich"].map((city) => ({ name: "get_weather", input: input(city) })));
    assert(calls.every(({ id }) => /^toolu_/.test(id)) && calls[0].id !== calls[1].id, "named");
    const block = (delta: string, last: string[] = []) => ["content_block_start", delta, ...last, "content_block_stop"];
    assertEquals(types.filter((type, i) => type !== types[i - 1]), [
      "message_start",
      ...block("thinking_delta", ["signature_delta"]),
      ...block("text_delta"),
      ...block("input_json_delta"),
      ...block("input_json_delta"),
      "message_delta",
      "message_stop",
    ]);
    assertEquals(stop_reason, "tool_use");
    const whole = await ask("Weather in two?", { tools: [WEATHER] });
    const plain = (blocks: Anthropic.ContentBlock[]) => blocks.map((block) => block.type === "tool_use" ? { ...block, id: "" } : block);
    assertEquals([plain(content), usage.output_tokens, usage.input_tokens], [
      plain(whole.content),
      whole.usage.output_tokens,
      whole.usage.input_tokens,
    ]);
    assert(whole.usage.output_tokens_details!.thinking_tokens > 1, "counted");
  });

  it("goes on after results of tools, as they came, merged into turns", async () => {
    const first = await ask("Weather in two?", { tools: [WEATHER] });
    const results = first.content.filter((block) => block.type === "tool_use").map((block, i) => ({
      type: "tool_result" as const,
      tool_use_id: block.id,
      content: i === 0 ? "rain" : [{ type: "text" as const, text: "no such city" }],
      is_error: i === 1,
    }));
    const messages = [user("Weather in two?"), { role: "assistant" as const, content: first.content }, { role: "user" as const, content: results }];
    const next = await client.messages.create({ model, max_tokens: 200, tools: [WEATHER], messages: [...messages, user("Well?"), user("And?")] });
    assertEquals(next.content, [{ type: "text", text: "Rain in both." } as Anthropic.TextBlock]);
    const said = prompts.at(-1)!;
    assert(
      said.endsWith(
        `[user]Weather in two?[assistant]<think>Two cities.</think>Let me see.\n<tool_call>
{"name": "get_weather", "arguments": {"city": "Oslo", "days": 1}}
</tool_call><tool_call>
{"name": "get_weather", "arguments": {"city": "Zürich", "days": 1}}
</tool_call>[tool]rain[tool]Error: no such city[user]Well?\n\nAnd?[assistant]`,
      ),
      said,
    );
  });

  it("runs tools until there is an answer", async () => {
    const asked: unknown[] = [];
    const runner = client.beta.messages.toolRunner({
      model,
      max_tokens: 200,
      messages: [user("Weather?")],
      tools: [{
        ...WEATHER,
        type: "custom" as const,
        parse: (input: unknown) => input as { city: string },
        run: (input: { city: string }) => {
          asked.push(input);
          return "rain";
        },
      }],
    });
    const { content } = await runner;
    assertEquals([asked, content[0].type === "text" && content[0].text], [[{ city: "Oslo", days: 1 }], "Rain in both."]);
  });

  it("says why an answer ended", async () => {
    const reason = async (content: string, more: Partial<Anthropic.MessageCreateParamsNonStreaming>) => {
      const { stop_reason, stop_sequence, content: [block] } = await ask(content, more);
      return [stop_reason, stop_sequence, block?.type === "text" ? block.text : null];
    };
    assertEquals(await reason("Count", { stop_sequences: ["four", "three"] }), ["stop_sequence", "three", "one two "]);
    // The end of the model's own turn, which no text shows.
    assertEquals(await reason("Count", { stop_sequences: ["<|end_of_text|>"] }), ["stop_sequence", "<|end_of_text|>", "one two three four"]);
    const [cut] = await reason("Count", { max_tokens: 2 });
    const [full] = await reason("on and on", { max_tokens: 5000 });
    assertEquals([cut, full], ["max_tokens", "model_context_window_exceeded"]);
  });

  it("may force calls, forbid them, ask for a form, and begin the answer", async () => {
    const forced = await ask("Weather", { tools: [WEATHER], tool_choice: { type: "tool", name: "get_weather", disable_parallel_tool_use: true } });
    assertEquals([forced.stop_reason, forced.content.map(({ type }) => type)], ["tool_use", ["tool_use"]]);
    assertEquals((await ask("Weather", { tools: [WEATHER], tool_choice: { type: "any" } })).content.length, 1);
    await ask("What?", { tools: [WEATHER], tool_choice: { type: "none" } });
    assert(!prompts.at(-1)!.includes("get_weather"), prompts.at(-1)!);
    const schema = { type: "object", properties: { kind: { enum: ["pot", "kettle"] } }, required: ["kind"], additionalProperties: false };
    for (const tools of [undefined, [WEATHER]]) {
      const formed = await ask("A JSON", { output_config: { format: { type: "json_schema", schema }, effort: "low" }, tools });
      assertEquals(formed.content[0].type === "text" && JSON.parse(formed.content[0].text), { kind: "pot" });
    }
    assert(prompts.at(-1)!.endsWith("[assistant](low)"), prompts.at(-1));
    const begun = await client.messages.create({ model, max_tokens: 9, messages: [user("How?"), { role: "assistant", content: "The kettle is" }] });
    assertEquals(begun.content[0].type === "text" && begun.content[0].text, " warm.");
    assertEquals(prompts.at(-1), "[user]How?[assistant]The kettle is");
  });

  it("may ask for thinking, or for none", async () => {
    await ask("What?", { thinking: { type: "enabled", budget_tokens: 1024 } });
    assert(prompts.at(-1)!.endsWith("[assistant](high)"), prompts.at(-1));
    await ask("What?", { thinking: { type: "disabled" } });
    assert(prompts.at(-1)!.endsWith("[assistant]<think></think>(none)"), prompts.at(-1));
    await ask("What?");
    assert(prompts.at(-1)!.endsWith("[assistant]"), prompts.at(-1));
  });

  it("is told which tools were left out, and that they cannot be called", async () => {
    const search = { type: "web_search_20250305" as const, name: "web_search" as const };
    const { response } = await client.messages.create({ model, max_tokens: 9, messages: [user("What?")], tools: [search, WEATHER] }).withResponse();
    assert(response.headers.get("warning")!.includes("web_search_20250305"), "named");
    const error = await assertRejects(
      () => ask("What?", { tools: [search, WEATHER], tool_choice: { type: "tool", name: "web_search" } }),
      Anthropic.BadRequestError,
    );
    assert(error.message.includes("web_search"), error.message);
  });

  it("gets its own error classes, whole and in a stream, and answers for keys as bearer tokens", async () => {
    const type = (error: InstanceType<typeof Anthropic.APIError>) => (error.error as { error: { type: string } }).error.type;
    const missing = await assertRejects(() => ask("What?", { model: "other" }), Anthropic.NotFoundError);
    const bad = await assertRejects(() => ask("What?", { temperature: 9 }), Anthropic.BadRequestError);
    assertEquals([type(missing), type(bad)], ["not_found_error", "invalid_request_error"]);
    const image = [{ type: "image" as const, source: { type: "url" as const, url: "http://x.example/" } }];
    const images = await assertRejects(() => ask("", { messages: [{ role: "user", content: image }] }), Anthropic.BadRequestError);
    assert(images.message.includes("messages.0.content"), images.message);
    const wrong = new Anthropic({ baseURL: server.url, apiKey: "wrong", maxRetries: 0 });
    const refused = await assertRejects(() => wrong.models.list(), Anthropic.AuthenticationError);
    assertEquals(type(refused), "authentication_error");
    const broken = client.messages.stream({ model, max_tokens: 9, messages: [user("fail")] });
    const failed = await assertRejects(() => broken.finalMessage(), Anthropic.APIError);
    assertEquals(type(failed as InstanceType<typeof Anthropic.APIError>), "api_error");
    const bearer = new Anthropic({ baseURL: server.url, authToken: KEY, apiKey: null, maxRetries: 0 });
    assertEquals((await bearer.models.list()).data.map(({ id, type }) => [id, type]), [["scripted", "model"]]);
  });

  it("ends an answer that it leaves", async () => {
    const stream = await client.messages.create({ model, max_tokens: 400, messages: [user("on and on")], stream: true });
    for await (const event of stream) if (event.type === "content_block_delta") break;
    assert(left.aborted || await new Promise((resolve) => left.addEventListener("abort", () => resolve(true))), "the engine is told");
  });
});
