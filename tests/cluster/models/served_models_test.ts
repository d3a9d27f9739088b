/**
 * The models of a server as they come and go: two names of the embedded model, of which one is loaded at a time.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { RunningCluster } from "../../../cluster/cluster.ts";
import { clusterServices } from "../../../cluster/compose.ts";
import { resolveSettings, type Settings } from "../../../cluster/config/settings.ts";
import { type ModelEngine, ModelServing } from "../../../cluster/models/served_models.ts";
import { readText } from "../../../cluster/models/room.ts";
import { ServerMetrics } from "../../../cluster/observe/metrics.ts";
import { guardianSettled } from "../../../cluster/processes/guardian.ts";
import { spawnText } from "../../../cluster/text/spawn_text.ts";
import { LatentmeshError } from "../../../core/errors.ts";

const never = new AbortController().signal;

describe("the models of a server", () => {
  const given = resolveSettings({ device: "cpu" }, {}, () => undefined);
  /** What was asked of the hub, or looked for on this host. */
  const fetched: string[] = [];
  const described: string[] = [];
  const closed: ModelEngine[] = [];
  let gone = false;
  let serving: ModelServing;

  /** An engine that cannot be closed in order. */
  async function load(settings: Settings): Promise<ModelEngine> {
    const engine = await RunningCluster.alone({ ...settings, model: given.model }, clusterServices);
    const model: ModelEngine = {
      onOutcome: (listener) => engine.onOutcome(listener),
      served: engine.served,
      failed: engine.failed,
      weightBytes: engine.weightBytes,
      get scheduling() {
        return engine.scheduling;
      },
      get stepTimes() {
        return engine.stepTimes;
      },
      describe: () => engine.describe(),
      close: async () => {
        await engine.close();
        closed.push(model);
        throw new Error("out of order");
      },
    };
    return model;
  }

  beforeAll(() => {
    const metrics = new ServerMetrics({
      loading: () => ({ ready: true, loadedBytes: 0, totalBytes: 0 }),
      uncaught: () => 0,
      cluster: () => serving.describe(),
    });
    const models = ["a", "b"].map((name) => ({ name, settings: { ...given, model: `org/${name}` }, idleSeconds: 1000, keepLoaded: false }));
    serving = new ModelServing({ models, maxLoaded: 1 }, {
      metrics,
      spawnText,
      app: { drain: never, shutdown: never },
      fetch: (settings) => {
        fetched.push(settings.model);
        const isThere = settings.model.startsWith("/");
        if (isThere && gone) return Promise.reject(new LatentmeshError("not_found", "it is not a model directory"));
        return Promise.resolve({ ...settings, model: isThere ? settings.model : `/cache/${settings.model}` });
      },
      describe: (settings) => {
        described.push(settings.model);
        return Promise.resolve({ ...settings, model: given.model });
      },
      readText: (settings) => readText({ ...settings, model: given.model }, clusterServices),
      fits: () => Promise.resolve(true),
      load,
    });
  });
  afterAll(async () => {
    await serving.close();
    await guardianSettled();
    assertEquals(closed.length, 4, "all were closed");
  });

  async function ask(id: string) {
    const use = await serving.use(id, never);
    const body = JSON.stringify({ prompt: [5, 6, 7], max_tokens: 4, ignore_eos: true });
    const response = await use.fetch(new Request("http://localhost/v1/completions", { method: "POST", body }));
    assertEquals((await response.json()).usage.completion_tokens, 4);
    use.release();
  }

  it("tokenise without being loaded or fetched, and with what is loaded where it is", async () => {
    const ask = async (id: string, path: string, body: object) => {
      const use = await serving.useText(id, never);
      const response = await use.fetch(new Request(`http://localhost${path}`, { method: "POST", body: JSON.stringify({ model: id, ...body }) }));
      const answer = await response.json();
      use.release();
      return answer;
    };
    const { tokens, count, max_model_len } = await ask("a", "/tokenize", { prompt: "What is a kettle?" });
    assertEquals([count, max_model_len > 0], [tokens.length, true]);
    assert((await ask("a", "/detokenize", { tokens })).prompt.endsWith("What is a kettle?"));
    assert((await ask("b", "/v1/messages/count_tokens", { messages: [{ role: "user", content: "What?" }] })).input_tokens > 1);
    assertEquals((await ask("a", "/tokenize", { prompt: "x", model: "b" })).error.code, "model_not_found");
    assertEquals([fetched, described, serving.list().map(({ state }) => state)], [[], ["org/a", "org/b"], ["unloaded", "unloaded"]]);
    // Others stop asking before it is there.
    const left = AbortSignal.abort();
    await assertRejects(() => serving.useText("a", left), LatentmeshError, "cancelled");
  });

  it("count on where those that were unloaded have ended, and hold only what is loaded", async () => {
    await ask("a");
    const one = await serving.describe();
    assert(one.scheduling.promptTokens === 3 && one.steps.rows > 0);
    // What makes room cannot be closed in order: that is not this one's trouble.
    await ask("b");
    const both = await serving.describe();
    assertEquals([both.scheduling.promptTokens, both.steps.rows, both.scheduling.active], [6, 2 * one.steps.rows, 0]);
    assertEquals(both.units.map(({ name }) => name), ["b/mixed-0"]);
  });

  it("go on with items that others have answered, which are unloaded by then", async () => {
    const post = async (id: string, body: object) => {
      const use = await serving.use(id, never);
      const response = await use.fetch(new Request("http://localhost/v1/responses", { method: "POST", body: JSON.stringify(body) }));
      const answer = await response.json();
      use.release();
      return answer;
    };
    const { output: [{ id }] } = await post("b", { input: "What is a kettle?", max_output_tokens: 2 });
    const { status } = await post("a", { input: [{ type: "item_reference", id }, { role: "user", content: "And?" }], max_output_tokens: 2 });
    assertEquals([status, serving.list().map(({ state }) => state)], ["incomplete", ["loaded", "unloaded"]]);
  });

  it("are taken from where they were fetched to, and fetched again only when they have gone from there", async () => {
    assertEquals(fetched, ["org/a", "org/b", "/cache/org/a"]);
    gone = true;
    await ask("b");
    assertEquals(fetched.slice(3), ["/cache/org/b", "org/b"]);
  });
});
