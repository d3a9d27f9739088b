/**
 * What users do with a model that is on a hub, in processes of their own.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { runCliWith, startServerWith, taskCommand } from "../../bench/support/process.ts";
import { FakeHub, type FakeHubOptions } from "../support/hub/fake_hub.ts";
import { neededOf, publishedTiny } from "../support/hub/models.ts";
import { ROOT } from "../../bench/support/root.ts";

const TINY = await publishedTiny();
const BYTES = neededOf(TINY).reduce((sum, path) => sum + TINY.files.get(path)!.length, 0);

async function withHub(options: Partial<FakeHubOptions>, body: (hub: FakeHub, env: Record<string, string>) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir();
  await using hub = new FakeHub({ models: [TINY], ...options });
  try {
    await body(hub, { HF_HOME: home, HF_ENDPOINT: hub.endpoint, HF_TOKEN: "" });
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

describe("a model on a hub", () => {
  it("is planned before it is fetched, from headers, as a directory would be", async () => {
    await withHub({}, async (hub, env) => {
      const args = ["plan", "--device", "cpu", "--ranks", "2", "--json"];
      const remote = await runCliWith(env, ...args, "--model", "test/tiny-mla");
      const local = await runCliWith(env, ...args, "--model", `${ROOT}/models/tiny-mla`);
      assertStringIncludes(remote.stderr, "headers are read from");
      assertEquals(JSON.parse(remote.stdout), {
        ...JSON.parse(local.stdout),
        config: { ...JSON.parse(local.stdout).config, model: "hf:test/tiny-mla" },
      });
      assert(hub.sentBytes < BYTES / 10, `${hub.sentBytes} bytes`);
      const doctor = await runCliWith(env, "doctor", "--port", "0", "--model", "test/tiny-mla");
      assertStringIncludes(doctor.stdout, "are still to be fetched");
      const score = await runCliWith(env, "score", "--text", `${ROOT}/models/tiny-mla/calibration.json`, "--model", "test/tiny-mla");
      assertStringIncludes(score.stderr, "fetch it with deno task pull test/tiny-mla first");
    });
  });

  it("is served by its name, and offline when it is there", async () => {
    await withHub({}, async (hub, env) => {
      const gone: Record<string, string> = { HF_HUB_OFFLINE: "1", HF_ENDPOINT: "http://127.0.0.1:9" };
      for (const more of [{}, gone]) {
        const server = await startServerWith({ ...env, ...more }, "--model", "test/tiny-mla");
        const { data: [{ id }] } = await (await fetch(`${server.url}/v1/models`)).json();
        assertEquals(id, "test/tiny-mla");
        const body = JSON.stringify({ prompt: "And it came to pass", max_tokens: 4 });
        const answer = await fetch(`${server.url}/v1/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
        assertEquals((await answer.json()).usage.completion_tokens, 4);
        const { log } = await server.stop();
        assertStringIncludes(log, "model   test/tiny-mla at ");
      }
      assertEquals(hub.sentBytes, BYTES);
      // Who may not write may use what is there.
      const texts = `${env.HF_HOME}/texts.json`;
      await Deno.writeTextFile(texts, JSON.stringify(["And it came to pass"]));
      const score = await runCliWith(env, "score", "--json", "--device", "wasm", "--text", texts, "--model", "hf:test/tiny-mla");
      assert(JSON.parse(score.stdout).tokens > 0, score.stderr);
      const { stdout } = await runCliWith(env, "models");
      assertStringIncludes(stdout, "test/tiny-mla  main");
      assertStringIncludes((await runCliWith(env, "models", "--remove", "test/tiny-mla")).stdout, "removed test/tiny-mla");
    });
  });

  it("tells how far it has come while it is fetched, and is gone on with after Ctrl-C", async () => {
    await withHub({ bytesPerSecond: 8_000_000 }, async (hub, env) => {
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const { port } = listener.addr as Deno.NetAddr;
      listener.close();
      const child = taskCommand(["serve", "--port", String(port), "--device", "cpu", "--model", "test/tiny-mla"], env).spawn();
      const ended = child.output();
      while (hub.sentBytes < BYTES / 3) await new Promise((resolve) => setTimeout(resolve, 20));
      const [ready, cluster] = await Promise.all(
        ["readyz", "cluster"].map(async (path) => await (await fetch(`http://127.0.0.1:${port}/${path}`)).json()),
      );
      child.kill("SIGINT");
      await ended;
      assertEquals([ready.status, cluster.model, cluster.loading.downloading], ["downloading", "test/tiny-mla", true]);
      assert(ready.loadedBytes > 0 && ready.loadedBytes < ready.totalBytes);
      const before = hub.sentBytes;
      assert(before < BYTES);
      // Two that come at once share the rest.
      const pulls = await Promise.all([runCliWith(env, "pull", "test/tiny-mla"), runCliWith(env, "pull", "test/tiny-mla")]);
      assertEquals(pulls.map(({ code }) => code), [0, 0], pulls.map(({ stderr }) => stderr).join());
      assertEquals(pulls[0].stdout, pulls[1].stdout);
      assert(hub.sentBytes <= 1.1 * BYTES, `${hub.sentBytes} of ${BYTES} bytes, ${before} of them before`);
      const { stderr, code } = await runCliWith({ ...env, HF_HUB_OFFLINE: "1" }, "pull", "--verify", "test/tiny-mla");
      assertEquals(code, 0, stderr);
    });
  });
});
