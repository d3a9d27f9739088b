/**
 * Requests prepared in processes of their own: what loops, fills memory or fails costs its sender, and nobody else anything.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { HttpError } from "../../../cluster/api/errors.ts";
import { JobQueue } from "../../../cluster/text/job_queue.ts";
import { spawnText } from "../../../cluster/text/spawn_text.ts";
import type { TextModelSource } from "../../../cluster/text/text_model.ts";
import { TextWork, type TextWorkOptions } from "../../../cluster/text/text_work.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { readTextSource } from "../../../core/text/text_source.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

const tiny = await readTextSource(new DirectoryFiles(fixtureDirectory("tiny-mla")));
const context = { maxContext: 2048 };
const source = (change: Partial<TextModelSource["source"]> = {}): TextModelSource => ({
  id: "m",
  vocabSize: 8192,
  context,
  source: { ...tiny, ...change },
});
const body = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const chat = (content: string) => body({ messages: [{ role: "user", content }] });
const tokens = (bytes: Uint8Array<ArrayBuffer>) => JSON.parse(new TextDecoder().decode(bytes)).tokens;

async function withWork(model: TextModelSource, options: Partial<TextWorkOptions>, test: (work: TextWork) => Promise<void>): Promise<void> {
  const work = await TextWork.start(model, { spawn: spawnText, ...options });
  try {
    await test(work);
  } finally {
    await work.close();
  }
}

describe("text processes", () => {
  it("prepare requests, refuse by name, and know whose turn it is", () =>
    withWork(source(), {}, async (work) => {
      assertEquals(tokens(await work.run("tokenize", body({ prompt: "What" }), { client: "" })), [0, 544]);
      const { conversation } = await work.run("chat", chat("What"), { client: "" });
      assertEquals([...conversation.prompt].includes(544), true);
      const error = await assertRejects(() => work.run("chat", body({ messages: [] }), { client: "" }), HttpError, "messages");
      assertEquals(error.fields.param, "messages");
      assertEquals((await work.run("encode", ["What", "What"], { client: "" })).length, 2);
      const many = Array.from({ length: 20 }, (_, i) => work.run("tokenize", body({ prompt: "What" }), { client: `${i % 3}` }));
      assertEquals((await Promise.all(many)).map(tokens), many.map(() => [0, 544]));
    }));

  it("end a template that never ends, a tokenizer's expression that takes years, and what takes all memory", async () => {
    const data = JSON.parse(tiny.tokenizer);
    const split = { type: "Split", pattern: { Regex: "(a+)+$" }, behavior: "Isolated", invert: false };
    const tokenizer = JSON.stringify({ ...data, pre_tokenizer: { type: "Sequence", pretokenizers: [split, data.pre_tokenizer] } });
    const forever = "{% for i in range(100000000) %}{% for j in range(100000000) %}{% endfor %}{% endfor %}";
    const hungry = "{% set ns = namespace(all=[]) %}{% for i in range(100000000) %}{% set ns.all = ns.all + [messages] %}{% endfor %}";
    const cases: [change: Partial<TextModelSource["source"]>, job: (work: TextWork, client: string) => Promise<unknown>][] = [
      [{ template: `{% if messages[0].content == 'loop' %}${forever}{% endif %}x` }, (work, client) => work.run("chat", chat("loop"), { client })],
      [{ template: `{% if messages[0].content == 'loop' %}${hungry}{% endif %}x` }, (work, client) => work.run("chat", chat("loop"), { client })],
      [{ tokenizer }, (work, client) => work.run("tokenize", body({ prompt: `${"a".repeat(60)}!` }), { client })],
    ];
    for (const [change, job] of cases) {
      await withWork(source(change), { jobTimeout: 800 }, async (work) => {
        const before = work.pids;
        const hostile = assertRejects(() => job(work, "hostile"), HttpError, "Preparing this request");
        // Others are served meanwhile: of two processes, one client has one.
        const again = assertRejects(() => job(work, "hostile"), HttpError, "Preparing this request");
        const other = await work.run("chat", chat("kind"), { client: "kind" });
        assert(other.conversation.prompt.length > 0);
        assertEquals((await hostile).status, 400);
        await again;
        assertEquals((await work.run("chat", chat("kind"), { client: "hostile" })).conversation.prompt.length > 0, true);
        assert(work.pids.some((pid) => !before.includes(pid)), "a process was started again");
      });
    }
  });

  it("refuse a text that cannot fit the context without looking at it", () =>
    withWork(source(), { processes: 1, jobTimeout: 5000 }, async (work) => {
      const letters = Array.from({ length: 1_500_000 }, (_, i) => String.fromCharCode(97 + (i * 7919) % 26)).join("");
      const error = await assertRejects(() => work.run("completion", body({ prompt: letters }), { client: "" }), HttpError, "tokens or more");
      assertEquals([error.fields.code, error.fields.param], ["context_length_exceeded", "prompt"]);
    }));

  it("say which limit a prompt exceeds, and what to change", () =>
    withWork({ ...source(), context: { maxContext: 100, maxPositions: 2048 } }, { processes: 1 }, async (work) => {
      const error = await assertRejects(
        () => work.run("completion", body({ prompt: new Array(90).fill(5), max_tokens: 20 }), { client: "" }),
        HttpError,
      );
      for (
        const part of ["110 tokens", "90 in the prompt, 20 to generate", "cache holds 100", "context of 2048 would do", "--max-tokens-total 110"]
      ) {
        assert(error.message.includes(part), `${part}: ${error.message}`);
      }
    }));

  it("name the field to change: what the prompt came from where it is too long by itself, else what asks for too many tokens", () =>
    withWork({ ...source(), context: { maxContext: 100, maxPositions: 2048 } }, { processes: 1 }, async (work) => {
      const words = (count: number) => "word ".repeat(count).trim();
      const messages = (count: number) => [{ role: "user", content: words(count) }];
      const cases: readonly [job: "completion" | "chat" | "response", body: object, param: string][] = [
        ["completion", { prompt: new Array(101).fill(5), max_tokens: 1 }, "prompt"],
        ["completion", { prompt: new Array(100).fill(5), max_tokens: 1 }, "prompt"],
        ["completion", { prompt: new Array(90).fill(5), max_tokens: 20 }, "max_tokens"],
        ["chat", { messages: messages(2000), max_tokens: 5 }, "messages"],
        ["chat", { messages: messages(3), max_tokens: 99 }, "max_tokens"],
        ["chat", { messages: messages(3), max_completion_tokens: 99 }, "max_completion_tokens"],
        ["response", { input: words(2000), max_output_tokens: 5 }, "input"],
        ["response", { input: words(3), max_output_tokens: 99 }, "max_output_tokens"],
      ];
      for (const [job, fields, param] of cases) {
        const bytes = body(fields);
        const run = () => job === "response" ? work.run(job, { body: bytes, kept: null }, { client: "" }) : work.run(job, bytes, { client: "" });
        const error = await assertRejects(run, HttpError);
        assertEquals([error.fields.code, error.fields.param], ["context_length_exceeded", param], JSON.stringify(fields).slice(0, 80));
      }
    }));

  it("are cancelled with their requests, and when they are closed", () =>
    withWork(source(), { processes: 1 }, async (work) => {
      const abort = new AbortController();
      const running = work.run("tokenize", body({ prompt: "What" }), { client: "" });
      const waiting = work.run("tokenize", body({ prompt: "What" }), { client: "", signal: abort.signal });
      abort.abort();
      assertEquals((await assertRejects(() => waiting, LatentmeshError)).code, "cancelled");
      await running;
      const late = assertRejects(() => work.run("tokenize", body({ prompt: "What" }), { client: "" }), LatentmeshError);
      await work.close();
      await late;
    }));

  it("are not there for a model whose tokenizer or template cannot be read", async () => {
    for (const change of [{ tokenizer: "{" }, { template: "{% if %}" }]) {
      await assertRejects(() => TextWork.start(source(change), { spawn: spawnText }), LatentmeshError, "Cannot load the");
    }
    const slow = source();
    await assertRejects(() => TextWork.start(slow, { spawn: spawnText, loadTimeout: 1 }), LatentmeshError, "took too long");
  });
});

describe("the queue of jobs", () => {
  it("lets clients take turns, and none have more than its share", () => {
    const queue = new JobQueue<string>(1);
    for (const job of ["a1", "a2", "a3"]) queue.add("a", job);
    queue.add("b", "b1");
    queue.add("c", "c1");
    assertEquals(queue.remove("c", "c1"), true);
    assertEquals(queue.remove("c", "c1"), false);
    assertEquals([queue.next()?.job, queue.next()?.job, queue.next()], ["a1", "b1", null]);
    queue.done("a");
    assertEquals([queue.next()?.job, queue.next()], ["a2", null]);
    queue.done("a");
    queue.done("b");
    queue.add("b", "b2");
    assertEquals(queue.takeAll(), ["a3", "b2"]);
    assertEquals(queue.next(), null);
  });
});
