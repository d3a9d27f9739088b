import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { openApp, openTestApp, readEvents, type TestApp } from "../../../bench/support/server.ts";

const KETTLE = { messages: [{ role: "user", content: "What is a kettle?" }], temperature: 0, max_tokens: 6 };
const KETTLE_TEXT = "Kettle means a small";

describe("HTTP API", () => {
  let test: TestApp;
  beforeAll(async () => void (test = await openTestApp()));
  afterAll(() => test.close());

  const json = async (path: string, body: unknown) => await (await test.post(path, body)).json();

  it("answers chat completions", async () => {
    const body = await json("/v1/chat/completions", { ...KETTLE, logprobs: true, top_logprobs: 2, return_token_ids: true });
    const [choice] = body.choices;
    assertEquals(choice.message, { role: "assistant", content: KETTLE_TEXT, refusal: null });
    assertEquals(choice.finish_reason, "length");
    assertEquals(choice.token_ids.length, 6);
    assertEquals(choice.logprobs.content.map(({ token }: { token: string }) => token).join(""), KETTLE_TEXT);
    assertEquals(choice.logprobs.content[0].top_logprobs.length, 2);
    assertEquals(body.usage, { prompt_tokens: 10, completion_tokens: 6, total_tokens: 16, prompt_tokens_details: { cached_tokens: 0 } });
    assertEquals(body.prompt_token_ids.length, 10);
  });

  it("streams chat completions with the same text, tokens and usage", async () => {
    const events = await readEvents(
      await test.post("/v1/chat/completions", { ...KETTLE, n: 2, stream: true, stream_options: { include_usage: true }, return_token_ids: true }),
    );
    assertEquals(events.at(-1), "[DONE]");
    const chunks = events.slice(0, -1).map((event) => JSON.parse(event));
    for (const index of [0, 1]) {
      const mine = chunks.flatMap(({ choices }) => choices).filter((choice) => choice.index === index);
      assertEquals(mine[0].delta, { role: "assistant", content: "" });
      assertEquals(mine.map(({ delta }) => delta.content ?? "").join(""), KETTLE_TEXT);
      assertEquals(mine.flatMap(({ token_ids }) => token_ids ?? []).length, 6);
      assertEquals(mine.filter(({ finish_reason }) => finish_reason !== null).map(({ finish_reason }) => finish_reason), ["length"]);
    }
    assertEquals(chunks.at(-1).choices, []);
    assertEquals(chunks.at(-1).usage, { prompt_tokens: 10, completion_tokens: 12, total_tokens: 22, prompt_tokens_details: { cached_tokens: 0 } });
    assert(chunks.slice(0, -1).every(({ usage }) => usage === null), "only the last chunk has usage");
  });

  it("takes content parts and the developer role", async () => {
    const parts = await json("/v1/chat/completions", {
      ...KETTLE,
      messages: [{ role: "user", content: [{ type: "text", text: "What is " }, { type: "text", text: "a kettle?" }] }],
    });
    assertEquals(parts.choices[0].message.content, KETTLE_TEXT);
    const [developer, system] = await Promise.all(["developer", "system"].map((role) => json("/tokenize", { messages: [{ role, content: "x" }] })));
    assertEquals(developer, system);
  });

  it("completes strings, token ids and lists of either", async () => {
    const prompt = "And it came to pass";
    const { tokens } = await json("/tokenize", { prompt });
    const options = { temperature: 0, max_tokens: 5 };
    const one = await json("/v1/completions", { prompt, ...options });
    assertEquals((await json("/v1/completions", { prompt: tokens, ...options })).choices[0].text, one.choices[0].text);
    const many = await json("/v1/completions", { prompt: [prompt, "What"], n: 2, ...options });
    assertEquals(many.choices.map(({ index }: { index: number }) => index), [0, 1, 2, 3]);
    assertEquals([many.choices[0].text, many.choices[1].text], [one.choices[0].text, one.choices[0].text]);
    assertEquals((await json("/v1/completions", { prompt: [tokens, tokens], ...options })).choices.length, 2);
    assertEquals(many.usage.prompt_tokens, tokens.length + 2);
  });

  it("echoes and scores a prompt without generating", async () => {
    const body = await json("/v1/completions", { prompt: "To create a new", max_tokens: 0, echo: true, logprobs: 2 });
    const [choice] = body.choices;
    assertEquals(choice.text, "To create a new");
    assertEquals(choice.logprobs.tokens, ["<|begin_of_text|>", "To", " create", " a", " new"]);
    assertEquals(choice.logprobs.token_logprobs[0], null);
    assert(choice.logprobs.token_logprobs.slice(1).every((logprob: number) => logprob < 0), "the rest have one");
    assertEquals(choice.logprobs.text_offset, [0, 0, 2, 9, 11]);
    assertEquals(Object.keys(choice.logprobs.top_logprobs[1]).length, 2);
    assertEquals(body.usage.completion_tokens, 0);
    const events = await readEvents(
      await test.post("/v1/completions", { prompt: "To create a new", max_tokens: 2, temperature: 0, echo: true, logprobs: 0, stream: true }),
    );
    const chunks = events.slice(0, -1).map((event) => JSON.parse(event).choices[0]);
    assertStringIncludes(chunks.map(({ text }) => text).join(""), "To create a new");
    assertEquals(chunks.flatMap(({ logprobs }) => logprobs.tokens).length, 7);
  });

  it("names tokens that are parts of characters by their bytes, and counts offsets in whole ones", async () => {
    const { choices: [{ logprobs }] } = await json("/v1/completions", { prompt: "\u{1f642}a", max_tokens: 0, echo: true, logprobs: 0 });
    const parts = logprobs.tokens.slice(1, -1);
    assert(parts.length > 1 && parts.every((token: string) => /^bytes:(\\x[0-9a-f]{2})+$/.test(token)), parts.join(" "));
    assertEquals(logprobs.tokens.at(-1), "a");
    assertEquals(logprobs.text_offset, [0, ...new Array(parts.length).fill(0), 2]);
  });

  it("counts special tokens where the text shows them, and what a stop string has cut off not at all", async () => {
    const { tokens } = await json("/tokenize", { prompt: "To create" });
    const echo = { max_tokens: 0, echo: true, logprobs: 0 };
    const [given] = (await json("/v1/completions", { prompt: [...tokens, 2, ...tokens.slice(1)], ...echo })).choices;
    assertEquals(given.text, "<|begin_of_text|>To create<|user|>To create");
    assertEquals(given.logprobs.text_offset, [0, 17, 19, 26, 34, 36]);
    const [said] = (await json("/v1/completions", { prompt: "To<|user|> create", ...echo })).choices;
    assertEquals([said.text, said.logprobs.text_offset], ["To<|user|> create", [0, 0, 2, 10]]);
    const kettle = { prompt: "<|user|>What is a kettle?<|assistant|>", temperature: 0, max_tokens: 60, logprobs: 0 };
    for (const stream of [false, true]) {
      const response = await test.post("/v1/completions", { ...kettle, stop: ["means a"], stream });
      const choices = stream
        ? (await readEvents(response)).slice(0, -1).map((event) => JSON.parse(event).choices[0])
        : (await response.json()).choices;
      const offsets = choices.flatMap(({ logprobs }: { logprobs: { text_offset: number[] } }) => logprobs.text_offset);
      assertEquals(choices.map(({ text }: { text: string }) => text).join(""), "Kettle ");
      assert(offsets.at(-1) === 7 && offsets.every((offset: number, i: number) => i === 0 || offset >= offsets[i - 1]), offsets.join());
    }
    const special = { prompt: kettle.prompt, temperature: 0, max_tokens: 3, logit_bias: { 2: 100 }, logprobs: 0 };
    const shown = (await json("/v1/completions", { ...special, skip_special_tokens: false })).choices[0];
    assertEquals([shown.text, shown.logprobs.text_offset], ["<|user|>".repeat(3), [0, 8, 16]]);
    const hidden = (await json("/v1/completions", { ...special, skip_special_tokens: true })).choices[0];
    assertEquals([hidden.text, hidden.logprobs.text_offset], ["", [0, 0, 0]]);
    const chat = await json("/v1/chat/completions", { ...KETTLE, max_tokens: 2, logit_bias: { 2: 100 }, skip_special_tokens: false });
    assertEquals(chat.choices[0].message.content, "<|user|><|user|>");
  });

  it("gives vLLM's log-probabilities of prompts", async () => {
    const { choices: [{ prompt_logprobs: of, logprobs }] } = await json("/v1/completions", {
      prompt: "To create a new",
      max_tokens: 0,
      echo: true,
      logprobs: 1,
      prompt_logprobs: 3,
    });
    const { tokens } = await json("/tokenize", { prompt: "To create a new" });
    assertEquals([of.length, of[0], logprobs.top_logprobs[1] && Object.keys(logprobs.top_logprobs[1]).length], [5, null, 1]);
    for (const [i, position] of of.slice(1).entries()) {
      const own = position[tokens[i + 1]];
      assertEquals([own.logprob, own.decoded_token], [logprobs.token_logprobs[i + 1], logprobs.tokens[i + 1]]);
      const ranks = Object.values(position as Record<string, { rank: number | null }>).map(({ rank }) => rank);
      assertEquals(ranks.filter((rank) => rank !== null).sort(), [1, 2, 3]);
      assert(ranks.length === 3 || own.rank === null);
    }
    const chat = await json("/v1/chat/completions", { ...KETTLE, max_tokens: 1, n: 2, prompt_logprobs: 0 });
    assertEquals([chat.prompt_logprobs.length, chat.prompt_logprobs.slice(1).map((position: object) => Object.keys(position).length)], [
      10,
      new Array(9).fill(1),
    ]);
  });

  it("computes log-probabilities of a prompt once, whichever of its choices repeat them", async () => {
    const asked: (number | null)[] = [];
    const { engine } = test.served;
    const served = {
      ...test.served,
      engine: Object.create(engine, {
        generate: {
          value: (...given: Parameters<typeof engine.generate>) => {
            asked.push(given[0].promptLogprobs);
            return engine.generate(...given);
          },
        },
      }),
    };
    await using other = await openApp(served);
    const body = {
      prompt: ["To create a new", "And it came to pass"],
      n: 2,
      best_of: 3,
      seed: 1,
      max_tokens: 2,
      echo: true,
      logprobs: 1,
      prompt_logprobs: 2,
    };
    const { choices } = await (await other.app.request("/v1/completions", { method: "POST", body: JSON.stringify(body) })).json();
    assertEquals(asked, [2, null, null, 2, null, null]);
    for (const [i, prompt] of body.prompt.entries()) {
      const alone = await json("/v1/completions", { ...body, prompt, n: 1, best_of: 1 });
      const { tokens, text_offset } = alone.choices[0].logprobs;
      const end = text_offset.indexOf(prompt.length);
      for (const choice of choices.slice(2 * i, 2 * i + 2)) {
        assertEquals(choice.prompt_logprobs, alone.choices[0].prompt_logprobs);
        assertEquals([choice.logprobs.tokens.slice(0, end), choice.logprobs.text_offset.slice(0, end)], [
          tokens.slice(0, end),
          text_offset.slice(0, end),
        ]);
        assertEquals(choice.logprobs.text_offset[end], prompt.length);
      }
    }
  });

  it("stops at stop strings and end tokens, unless told to ignore those", async () => {
    const stopped = await json("/v1/chat/completions", { ...KETTLE, max_tokens: 30, stop: ["small"] });
    assertEquals([stopped.choices[0].message.content, stopped.choices[0].finish_reason], ["Kettle means a ", "stop"]);
    const ended = await json("/v1/chat/completions", { ...KETTLE, max_tokens: 40 });
    assertEquals(ended.choices[0].finish_reason, "stop");
    const ignored = await json("/v1/chat/completions", { ...KETTLE, max_tokens: 40, ignore_eos: true });
    assertEquals([ignored.choices[0].finish_reason, ignored.usage.completion_tokens], ["length", 40]);
  });

  it("gives equal seeds equal texts and different choices different ones", async () => {
    const options = { prompt: "It was", max_tokens: 12, temperature: 1.5, n: 2, seed: 11 };
    const [a, b] = [await json("/v1/completions", options), await json("/v1/completions", options)];
    assertEquals(a.choices, b.choices);
    assert(a.choices[0].text !== a.choices[1].text, "choices differ");
  });

  it("tokenizes and detokenizes", async () => {
    const { tokens, count, max_model_len } = await json("/tokenize", { prompt: "What is", add_special_tokens: false });
    assertEquals([count, max_model_len], [tokens.length, 2048]);
    assertEquals(await json("/detokenize", { tokens }), { prompt: "What is" });
  });

  it("lists the model and reports health", async () => {
    const models = await (await test.app.request("/v1/models")).json();
    assertEquals([models.data[0].id, models.data[0].object], ["tiny-mla", "model"]);
    assertEquals(await (await test.app.request("/v1/models/tiny-mla")).json(), models.data[0]);
    assertEquals((await test.app.request("/v1/models/deepseek-ai/other")).status, 404);
    assertEquals((await test.app.request("/healthz")).status, 200);
    assertEquals((await test.app.request("/readyz")).status, 200);
  });

  it("gives the best of several completions, by their log-probability", async () => {
    const options = { prompt: "It was", max_tokens: 6, temperature: 1.5, seed: 11, logprobs: 0 };
    const all = await json("/v1/completions", { ...options, n: 4 });
    const best = await json("/v1/completions", { ...options, n: 1, best_of: 4 });
    const mean = ({ logprobs }: { logprobs: { token_logprobs: number[] } }) => logprobs.token_logprobs.reduce((sum, value) => sum + value, 0);
    const expected = all.choices.toSorted((a: never, b: never) => mean(b) - mean(a))[0].text;
    assertEquals([best.choices.length, best.choices[0].text, best.usage.completion_tokens], [1, expected, 24]);
  });

  const chat = "/v1/chat/completions";
  const completions = "/v1/completions";

  it("ends at tokens of the client's, shows a stop string if asked to, and takes no nucleus for the best token", async () => {
    const { choices: [{ token_ids, message }] } = await json(chat, { ...KETTLE, return_token_ids: true });
    assertEquals(message.content, KETTLE_TEXT);
    const ended = await json(chat, { ...KETTLE, max_tokens: 60 });
    assertEquals(ended.choices[0].finish_reason, "stop");
    const longer = { ...KETTLE, max_tokens: 60, min_tokens: 50 };
    for (const body of [longer, { ...longer, logprobs: true }, { ...longer, n: 2 }]) {
      const { choices, usage } = await json(chat, { ...body, return_token_ids: true });
      for (const { token_ids } of choices) assert(token_ids.length >= 50, JSON.stringify(usage));
      assert(choices[0].message.content.startsWith(ended.choices[0].message.content), "the same until it would have ended");
    }
    const [cut] = (await json(chat, { ...KETTLE, stop_token_ids: [token_ids[3]], ignore_eos: true })).choices;
    assertEquals(cut.finish_reason, "stop");
    assert(KETTLE_TEXT.startsWith(cut.message.content) && cut.message.content.length < KETTLE_TEXT.length, cut.message.content);
    for (const [include, text] of [[false, "Kettle "], [true, "Kettle means"]] as const) {
      const [{ message, finish_reason }] = (await json(chat, { ...KETTLE, stop: "means", include_stop_str_in_output: include })).choices;
      assertEquals([message.content, finish_reason], [text, "stop"]);
    }
    const [{ text }] =
      (await json(completions, { prompt: "a b", stop: ["c"], include_stop_str_in_output: true, max_tokens: 200, temperature: 0 })).choices;
    assertEquals(text.indexOf("c"), text.length - 1);
    for (const fields of [{ top_p: 0 }, { top_p: 0, seed: 2 ** 63 }, { top_p: 0, seed: -(2 ** 63) }]) {
      assertEquals((await json(chat, { ...KETTLE, temperature: 2, ...fields })).choices[0].message.content, KETTLE_TEXT);
    }
    // Of 64 bits all count, though numbers hold 53 of them.
    for (const path of [chat, completions]) {
      const body = JSON.stringify({ ...path === chat ? KETTLE : { prompt: "What" }, max_tokens: 20, temperature: 1.5 }).slice(0, -1);
      const drawn = await Promise.all(
        ["9223372036854775807", "9223372036854775807", "9223372036854775806"].map((seed) => json(path, `${body},"seed":${seed}}`)),
      );
      const [one, same, other] = drawn.map(({ choices: [{ message, text }] }) => message?.content ?? text);
      assertEquals(same, one);
      assert(other !== one, "another seed");
    }
  });

  it("takes what clients send without being asked, and tells who waits for it that it is there", async () => {
    const answers = await Promise.all([
      json(chat, {
        ...KETTLE,
        messages: [
          {
            role: "user",
            content: [{ type: "text", text: "What is a kettle?", cache_control: { type: "ephemeral" }, anything: null }],
            name: null,
            annotations: [],
            anything: null,
          },
        ],
        metadata: { a: "b" },
        store: true,
        safety_identifier: "x",
        prompt_cache_key: "x",
        prompt_cache_retention: "24h",
        client_metadata: {},
        verbosity: "low",
        min_tokens: 0,
        skip_special_tokens: true,
        add_generation_prompt: true,
        continue_final_message: false,
        stream_options: { anything: null },
        prompt_logprobs: null,
        anything: null,
      }),
      json(chat, KETTLE),
    ]);
    assertEquals(answers[0].choices, answers[1].choices);
    const call = { id: "a", type: "function", function: { name: "boil", arguments: "{}" } };
    const tokens = await Promise.all([{ index: 0 }, {}].map((extra) =>
      json("/tokenize", {
        messages: [
          { role: "user", content: "x" },
          { role: "assistant", content: null, function_call: null, audio: null, refusal: null, annotations: [], tool_calls: [{ ...call, ...extra }] },
          { role: "tool", content: "y", tool_call_id: "a" },
        ],
      })
    ));
    assertEquals(tokens[0], tokens[1]);
    const { status } = await test.post("/v1/responses", { input: "x", store: true, user: null, max_output_tokens: 1, text: { verbosity: "low" } });
    assertEquals(status, 200);
    assertEquals(await (await test.app.request("/health")).json(), { status: "ok" });
    assertEquals(Object.keys(await (await test.app.request("/version")).json()), ["version"]);
  });

  it("accepts values that ask for what happens anyway, and null for not given", async () => {
    const response = await test.post(chat, {
      ...KETTLE,
      max_tokens: 1,
      tools: [],
      store: false,
      response_format: { type: "text" },
      stop: null,
      logit_bias: null,
      seed: null,
      user: "u",
    });
    assertEquals(response.status, 200);
    await response.body?.cancel();
  });
});
