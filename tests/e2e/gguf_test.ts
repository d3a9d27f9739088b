/**
 * A GGUF file as users have it: planned, looked at, and served by processes that may read it and nothing beside it.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { exportGguf } from "../../bench/gguf/export.ts";
import { runCliWith, startServerWith } from "../../bench/support/process.ts";
import { DirectoryFiles } from "../../workers/load/model_files.ts";
import { fixtureDirectory } from "../support/checkpoints.ts";

describe("a GGUF file", () => {
  it("is planned, and served by workers of their own", async () => {
    const directory = await Deno.makeTempDir();
    try {
      const model = `${directory}/tiny-Q8_0.gguf`;
      using files = new DirectoryFiles(fixtureDirectory("tiny-mla"));
      await Deno.writeFile(model, new Uint8Array(await new Blob(await Array.fromAsync(exportGguf(files, "Q8_0"))).arrayBuffer()));
      const { stdout } = await runCliWith({}, "plan", "--device", "wasm", "--ranks", "2", "--json", "--model", model);
      assertEquals(JSON.parse(stdout).config.model, model);
      const doctor = await runCliWith({}, "doctor", "--device", "wasm", "--port", "0", "--model", model);
      assertStringIncludes(doctor.stdout, "tiny-Q8_0.gguf: 6 layers, latent of 128");
      const server = await startServerWith({}, "--ranks", "2", "--attention", "mla", "--model", model);
      const { data: [{ id }] } = await (await fetch(`${server.url}/v1/models`)).json();
      assertEquals(id, "tiny-Q8_0");
      const body = JSON.stringify({ prompt: "And it came to pass", max_tokens: 4 });
      const answer = await fetch(`${server.url}/v1/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
      assertEquals((await answer.json()).usage.completion_tokens, 4);
      await server.stop();
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
});
