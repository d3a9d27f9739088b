import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { TextTokenizer } from "../../../core/text/tokenizer.ts";
import { PromptEncoder } from "../../../cluster/text/prompt_encoder.ts";
import { DirectoryFiles } from "../../../workers/model_files.ts";
import { fixtureDirectory } from "../../support/fixtures.ts";

async function load(): Promise<TextTokenizer> {
  using files = new DirectoryFiles(fixtureDirectory("tiny-mla"));
  return await TextTokenizer.load(files);
}

describe("a prompt encoder", () => {
  it("gives the same tokens at once and from its thread, of texts in any order", async () => {
    const tokenizer = await load();
    using encoder = new PromptEncoder(tokenizer, { short: 40 });
    const texts = ["And it came to pass", "a kettle <|x|> of fish", "émigré 漢字 🫖", "", "It was a dark and stormy night ".repeat(20)];
    for (const special of [true, false]) {
      const expected = texts.map((text) => tokenizer.encode(text, { special }));
      assertEquals(await encoder.encodeAll(texts, { special }), expected);
      assertEquals(await Promise.all(texts.map((text) => encoder.encode(text, { special }))), expected);
    }
  });

  it("leaves the event loop alone meanwhile", async () => {
    using encoder = new PromptEncoder(await load(), { short: 40 });
    const long = encoder.encode("word ".repeat(10_000), { special: false }).then(({ length }) => length);
    let turns = 0;
    const turning = setInterval(() => turns++, 0);
    assertEquals(await long > 9000, true);
    clearInterval(turning);
    assertEquals(turns > 0, true);
  });

  it("ends what takes too long, and goes on with the next", async () => {
    const tokenizer = await load();
    using encoder = new PromptEncoder(tokenizer, { short: 40, deadlineMs: 1 });
    const slow = "lorem".repeat(20_000);
    const error = await assertRejects(() => encoder.encode(slow, { special: false }), LatentmeshError, "longer than 1 ms");
    assertEquals(error.code, "invalid_request");
    // In another thread.
    await assertRejects(() => encoder.encode(slow, { special: false }), LatentmeshError, "longer than 1 ms");
    assertEquals(await encoder.encode("short", { special: false }), tokenizer.encode("short", { special: false }));
    using patient = new PromptEncoder(tokenizer, { short: 40 });
    const text = "It was a dark and stormy night, and the rain fell in torrents.";
    assertEquals(await patient.encode(text, { special: false }), tokenizer.encode(text, { special: false }));
  });
});
