/**
 * Other clients that people use, unmodified, against a served cluster: Vercel's AI SDK and LangChain.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { createOpenAICompatible } from "npm:@ai-sdk/openai-compatible@2.0.87";
import { ChatOpenAI } from "npm:@langchain/openai@1.5.9";
import { generateText, jsonSchema, Output, streamText, tool } from "npm:ai@6.0.322";
import OpenAI from "npm:openai@6.49.0";
import { type ServedProcess, startServer } from "../../bench/support/process.ts";

const TEXT = "Kettle means a small kettle (shaped in a leaflet) for driving reasons.";
const PROMPT = "What is a kettle?";
const parameters = {
  type: "object" as const,
  properties: { city: { type: "string" as const, enum: ["Paris", "Rome"] } },
  required: ["city"],
  additionalProperties: false,
};

describe("clients of other makers", () => {
  let server: ServedProcess;
  beforeAll(async () => void (server = await startServer()));
  afterAll(async () => assertEquals((await server.stop()).code, 0));

  it("openai: tools, JSON schema and responses", async () => {
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
    const tools = [{ type: "function" as const, function: { name: "weather", parameters } }];
    const messages = [{ role: "user" as const, content: PROMPT }];
    // Left alone, so small a model would call until its context is full.
    const one = { tool_choice: "required" as const, parallel_tool_calls: false };
    const called = await client.chat.completions.create({ model: "tiny-mla", messages, tools, ...one, temperature: 0 });
    const [call] = called.choices[0].message.tool_calls!;
    assert(call.type === "function" && ["Paris", "Rome"].includes(JSON.parse(call.function.arguments).city), JSON.stringify(call));
    const stream = client.chat.completions.stream({ model: "tiny-mla", messages, tools, ...one, temperature: 0 });
    const streamed = (await stream.finalChatCompletion()).choices[0].message.tool_calls![0];
    assertEquals(streamed.type === "function" && streamed.function.arguments, call.function.arguments);
    const format = { type: "json_schema" as const, json_schema: { name: "place", strict: true, schema: parameters } };
    const formed = await client.chat.completions.parse({ model: "tiny-mla", messages, response_format: format, temperature: 0 });
    assert(["Paris", "Rome"].includes((formed.choices[0].message.parsed as unknown as { city: string }).city), "parsed");
    const response = await client.responses.create({ model: "tiny-mla", input: PROMPT, temperature: 0 });
    assertEquals(response.output_text, TEXT);
    let text = "";
    for await (const event of await client.responses.create({ model: "tiny-mla", input: PROMPT, temperature: 0, stream: true })) {
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    assertEquals(text, TEXT);
    assertEquals((await client.models.retrieve("tiny-mla")).id, "tiny-mla");
  });

  it("Vercel's AI SDK: text, streams, tools, JSON schema", async () => {
    const provider = createOpenAICompatible({ name: "latentmesh", baseURL: `${server.url}/v1`, supportsStructuredOutputs: true });
    const model = provider.chatModel("tiny-mla");
    assertEquals((await generateText({ model, prompt: PROMPT, temperature: 0 })).text, TEXT);
    const stream = streamText({ model, prompt: PROMPT, temperature: 0 });
    assertEquals((await Array.fromAsync(stream.textStream)).join(""), TEXT);
    const providerOptions = { latentmesh: { parallel_tool_calls: false } };
    const weather = tool({ description: "Weather", inputSchema: jsonSchema<{ city: string }>(parameters) });
    const { toolCalls } = await generateText({ model, prompt: PROMPT, temperature: 0, tools: { weather }, toolChoice: "required", providerOptions });
    assert(["Paris", "Rome"].includes((toolCalls[0].input as { city: string }).city), JSON.stringify(toolCalls));
    const output = Output.object({ schema: jsonSchema<{ city: string }>(parameters) });
    const { output: place } = await generateText({ model, prompt: PROMPT, temperature: 0, output });
    assert(["Paris", "Rome"].includes(place.city), JSON.stringify(place));
  });

  it("LangChain: text, streams, tools, JSON schema", async () => {
    const model = new ChatOpenAI({
      model: "tiny-mla",
      apiKey: "none",
      temperature: 0,
      maxRetries: 0,
      configuration: { baseURL: `${server.url}/v1` },
    });
    assertEquals((await model.invoke(PROMPT)).content, TEXT);
    let text = "";
    for await (const chunk of await model.stream(PROMPT)) text += chunk.content;
    assertEquals(text, TEXT);
    const tools = [{ type: "function" as const, function: { name: "weather", description: "Weather", parameters } }];
    const { tool_calls: calls } = await model.bindTools(tools, { tool_choice: "required", parallel_tool_calls: false }).invoke(PROMPT);
    assert(["Paris", "Rome"].includes(calls![0].args.city), JSON.stringify(calls));
    const place = await model.withStructuredOutput<{ city: string }>({ title: "place", ...parameters }, { method: "jsonSchema" }).invoke(PROMPT);
    assert(["Paris", "Rome"].includes(place.city), JSON.stringify(place));
  });
});
