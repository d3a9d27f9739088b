import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { EMBEDDED_FILES, EMBEDDED_MODEL, embeddedDirectory, type EmbeddedFile, fetchEmbeddedModel } from "../../../cluster/config/embedded_model.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { ROOT } from "../../../bench/support/root.ts";

async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

describe("the embedded model", () => {
  it("is beside the code in a checkout, and its files are those that a package fetches", async () => {
    assertEquals(embeddedDirectory(), `${ROOT}/models/tiny-mla`);
    const listed = await Promise.all(EMBEDDED_FILES.map(async ({ name }): Promise<EmbeddedFile> => {
      const bytes = await Deno.readFile(new URL(`${EMBEDDED_MODEL}/${name}`));
      return { name, bytes: bytes.length, digest: await digestOf(bytes) };
    }));
    assertEquals(listed, EMBEDDED_FILES);
    const there = (await Array.fromAsync(Deno.readDir(EMBEDDED_MODEL))).map(({ name }) => name).filter((name) => name !== "README.md");
    assertEquals(there.toSorted(), EMBEDDED_FILES.map(({ name }) => name).toSorted());
    await fetchEmbeddedModel(embeddedDirectory());
  });

  it("is fetched once where it is not there, and is not taken for another file, a part or more than it has", async () => {
    const content = new TextEncoder().encode("all of it");
    let serves: BodyInit | null = content;
    let asked = 0;
    await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
      asked++;
      return serves === null ? new Response("", { status: 404 }) : new Response(serves);
    });
    const from = new URL(`http://127.0.0.1:${(server.addr as Deno.NetAddr).port}/models/tiny-mla`);
    const options = { from, files: [{ name: "a file", bytes: content.length, digest: await digestOf(content) }], silentMs: 300 };
    const home = await Deno.makeTempDir();
    const before = Deno.env.get("XDG_CACHE_HOME");
    Deno.env.set("XDG_CACHE_HOME", home);
    try {
      const model = embeddedDirectory(from);
      await fetchEmbeddedModel("another", options);
      assertEquals(asked, 0, "a model of one's own");
      const stalled = () => new ReadableStream({ start: (controller) => controller.enqueue(content.slice(0, 3)) });
      const wrong: [serves: BodyInit | null, problem: string][] = [
        [null, "answers 404"],
        [content.slice(1), "not the file"],
        [content.toReversed(), "not the file"],
        [new Uint8Array(20), "more than 9 bytes"],
        [stalled(), "says nothing for 0.3 s"],
      ];
      for (const [body, problem] of wrong) {
        serves = body;
        await assertRejects(() => fetchEmbeddedModel(model, options), LatentmeshError, problem);
        await assertRejects(() => Deno.stat(`${model}/a file`), Deno.errors.NotFound);
      }
      serves = content;
      for (let i = 0; i < 2; i++) await fetchEmbeddedModel(model, options);
      assertEquals([asked, await Deno.readFile(`${model}/a file`)], [6, content]);
    } finally {
      if (before === undefined) Deno.env.delete("XDG_CACHE_HOME");
      else Deno.env.set("XDG_CACHE_HOME", before);
      await Deno.remove(home, { recursive: true });
    }
  });
});
