/**
 * Frameworks that call tools until there is an answer, unmodified, against a server whose model follows a script: `@openai/agents`, Vercel's AI SDK with its
 * providers for OpenAI and Anthropic, LangChain and LlamaIndex.
 */
import { afterAll, beforeAll, beforeEach, describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { createAnthropic } from "npm:@ai-sdk/anthropic@3.0.140";
import { createOpenAI } from "npm:@ai-sdk/openai@3.0.141";
import { ChatOpenAI } from "npm:@langchain/openai@1.5.9";
import { AIMessage, HumanMessage, ToolMessage } from "npm:@langchain/core@1.4.0/messages";
import { Agent, Runner, tool as agentTool } from "npm:@openai/agents-core@0.20.0";
import type { ChatMessage, ToolCallLLMMessageOptions } from "npm:@llamaindex/core@0.6.23/llms";
import { tool as llamaTool } from "npm:@llamaindex/core@0.6.23/tools";
import { OpenAI as LlamaOpenAI } from "npm:@llamaindex/openai@0.4.23";
import { OpenAIProvider } from "npm:@openai/agents-openai@0.20.0";
import { generateText, jsonSchema, type LanguageModel, Output, stepCountIs, streamText, tool } from "npm:ai@6.0.322";
import OpenAI from "npm:openai@6.49.0";
import { serveModel } from "../../bench/support/server.ts";
import { scriptedModel } from "../support/scripted_model.ts";

const QUESTION = "What will the weather be in Oslo and in Rome?";
const ANSWER = "Rain in Oslo, sun in Rome.";
const call = (city: string) => `<tool_call>\n{"name": "get_weather", "arguments": {"city": "${city}"}}\n</tool_call>`;
const CALLS = `<think>Two cities.</think>\n\nLet me see.\n${call("Oslo")}\n${call("Rome")}`;
const WEATHER: Readonly<Record<string, string>> = { Oslo: "rain", Rome: "sun" };

const parameters = {
  type: "object" as const,
  properties: { city: { type: "string" as const } },
  required: ["city" as const],
  additionalProperties: false as const,
};
/** Its warnings are about models that it does not know. */
(globalThis as { AI_SDK_LOG_WARNINGS?: boolean }).AI_SDK_LOG_WARNINGS = false;

const place = {
  type: "object" as const,
  properties: { city: { type: "string" as const, enum: ["Oslo", "Rome"] } },
  required: ["city" as const],
  additionalProperties: false as const,
};

describe("frameworks with tools", () => {
  let prompts: string[] = [];
  let left: AbortSignal | undefined;
  let server: { readonly url: string; close(): Promise<void> };
  beforeAll(async () => {
    const model = await scriptedModel((prompt, { signal }) => {
      prompts.push(prompt);
      left = signal;
      if (prompt.includes("fail")) throw new Error("the engine has failed");
      if (prompt.includes("on and on")) return "la la…";
      if (prompt.includes("A place")) {
        // Where a provider does not know that a model has forms, it makes it call a tool of that form.
        return prompt.includes(`"name": "json"`) ? `<tool_call>\n{"name": "json", "arguments": {"city": "Rome"}}\n</tool_call>` : `{"city": "Rome"}`;
      }
      if (prompt.includes("[tool]")) return ANSWER;
      return prompt.includes("At once") ? `${call("Oslo")}\n${call("Rome")}` : CALLS;
    });
    server = await serveModel(model);
  });
  beforeEach(() => void (prompts = []));
  afterAll(() => server.close());

  /** The calls and their results have come back, in order, as the template writes them. */
  function assertLoop(): void {
    assertEquals(prompts.length, 2, JSON.stringify(prompts));
    const calls = ["Oslo", "Rome"].map((city) => `<tool_call>\n{"name": "get_weather", "arguments": {"city": "${city}"}}\n</tool_call>`).join("");
    assert(prompts[1].includes(`${calls}[tool]rain[tool]sun`), prompts[1]);
  }

  for (const [name, useResponses] of [["chat completions", false], ["responses", true]] as const) {
    it(`@openai/agents over ${name}: a loop of tools, whole and streaming`, async () => {
      const openAIClient = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
      const modelProvider = new OpenAIProvider({ openAIClient: openAIClient as never, useResponses });
      const runner = new Runner({ modelProvider, tracingDisabled: true });
      const weather = agentTool({
        name: "get_weather",
        description: "Weather",
        parameters,
        execute: (input: unknown) => WEATHER[(input as { city: string }).city],
      });
      const agent = new Agent({ name: "Forecaster", instructions: "Be brief.", model: "scripted", tools: [weather] });
      assertEquals((await runner.run(agent, QUESTION)).finalOutput, ANSWER);
      assertLoop();
      prompts = [];
      const streamed = await runner.run(agent, QUESTION, { stream: true });
      let text = "";
      for await (const event of streamed) {
        if (event.type === "raw_model_stream_event" && event.data.type === "output_text_delta") text += event.data.delta;
      }
      await streamed.completed;
      assertEquals(streamed.finalOutput, ANSWER);
      assert(text.endsWith(ANSWER), text);
      assertLoop();
    });
  }

  const openai = () => createOpenAI({ baseURL: `${server.url}/v1`, apiKey: "none" });
  const providers: [name: string, model: () => LanguageModel, reasons: boolean][] = [
    ["OpenAI's chat completions", () => openai().chat("scripted"), false],
    ["OpenAI's responses", () => openai().responses("scripted"), true],
    ["Anthropic's messages", () => createAnthropic({ baseURL: `${server.url}/v1`, apiKey: "none" })("scripted"), true],
  ];
  for (const [name, model, reasons] of providers) {
    it(`AI SDK over ${name}: a loop of tools, whole and streaming, a schema, aborts and errors`, async () => {
      const weather = tool({
        description: "Weather",
        inputSchema: jsonSchema<{ city: string }>(parameters),
        execute: ({ city }) => WEATHER[city],
      });
      const options = { model: model(), prompt: QUESTION, tools: { get_weather: weather }, stopWhen: stepCountIs(3), maxRetries: 0 };
      const { text, steps } = await generateText(options);
      assertEquals([text, steps.length], [ANSWER, 2]);
      assertLoop();
      assertEquals(prompts[1].includes("<think>Two cities.</think>"), reasons, "reasoning comes back where the API has a place for it");
      prompts = [];
      const streamed = streamText(options);
      assert((await Array.fromAsync(streamed.textStream)).join("").endsWith(ANSWER));
      assertLoop();
      const output = Output.object({ schema: jsonSchema<{ city: string }>(place) });
      assertEquals((await generateText({ model: model(), prompt: "A place", output, maxRetries: 0 })).output, { city: "Rome" });

      const abort = new AbortController();
      const endless = streamText({ model: model(), prompt: "on and on", abortSignal: abort.signal, onError: () => {} });
      for await (const _ of endless.textStream) abort.abort();
      assert(left!.aborted || await new Promise((resolve) => left!.addEventListener("abort", () => resolve(true))), "the engine is told");
      const problem = await generateText({ model: model(), prompt: "fail", maxRetries: 0 }).catch((error) => error);
      assertEquals([problem.statusCode, /engine has failed/.test(problem.message)], [500, true], problem.message);
    });
  }

  it("LangChain: a loop of tools over chat completions and responses", async () => {
    for (const useResponsesApi of [false, true]) {
      prompts = [];
      const model = new ChatOpenAI({
        model: "scripted",
        apiKey: "none",
        maxRetries: 0,
        useResponsesApi,
        configuration: { baseURL: `${server.url}/v1` },
      }).bindTools([{ type: "function", function: { name: "get_weather", description: "Weather", parameters } }]);
      const conversation: (HumanMessage | AIMessage | ToolMessage)[] = [new HumanMessage(QUESTION)];
      for (let turn = 0; turn < 3; turn++) {
        const answer = await model.invoke(conversation);
        conversation.push(answer);
        for (const { id, args } of answer.tool_calls ?? []) conversation.push(new ToolMessage({ tool_call_id: id!, content: WEATHER[args.city] }));
        if ((answer.tool_calls ?? []).length === 0) break;
      }
      assertEquals(conversation.at(-1)!.text, ANSWER);
      assertLoop();
    }
  });

  it("LlamaIndex: a loop of tools, whole and streaming", async () => {
    const model = new LlamaOpenAI({ model: "scripted", apiKey: "none", baseURL: `${server.url}/v1`, maxRetries: 0 });
    const tools = [
      llamaTool({ name: "get_weather", description: "Weather", parameters, execute: (input) => WEATHER[(input as { city: string }).city] }),
    ];
    for (const stream of [false, true]) {
      prompts = [];
      // Of a stream it takes calls only where nothing is said before them.
      const messages: ChatMessage<ToolCallLLMMessageOptions>[] = [{ role: "user", content: stream ? `At once! ${QUESTION}` : QUESTION }];
      let said = "";
      for (let turn = 0, called = true; called && turn < 3; turn++) {
        said = "";
        if (stream) {
          const run = await model.exec({ messages, tools, stream: true });
          for await (const { delta } of run.stream) said += delta;
          messages.push(...run.newMessages());
          called = run.toolCalls.length > 0;
        } else {
          const run = await model.exec({ messages, tools });
          messages.push(...run.newMessages);
          said = String(run.newMessages.at(-1)!.content);
          called = run.toolCalls.length > 0;
        }
      }
      assertEquals(said, ANSWER);
      assertLoop();
    }
  });

  it("openai: responses with reasoning, put together from their events", async () => {
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
    const tools = [{ type: "function" as const, name: "get_weather", parameters, strict: true }];
    const stream = client.responses.stream({ model: "scripted", input: QUESTION, tools, reasoning: { effort: "low" } });
    const { output } = await stream.finalResponse();
    assertEquals(output.map(({ type }) => type), ["reasoning", "message", "function_call", "function_call"]);
    assertEquals(output[0].type === "reasoning" && output[0].content?.[0].text, "Two cities.");
  });
});
