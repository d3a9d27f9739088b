/**
 * Several models in one server, in this process: loaded when they are asked for, and unloaded for others.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ROOT } from "../../bench/support/root.ts";
import { fixtureDirectory } from "../support/checkpoints.ts";
import { runCli, type ServedProcess, startServerWith } from "../../bench/support/process.ts";

const KEY = "a-key-of-the-tests";

describe("a server of several models", () => {
  let server: ServedProcess;
  let file: string;
  const late = fixtureDirectory("tiny-mla");
  let directory: string;

  beforeAll(async () => {
    directory = await Deno.makeTempDir();
    file = `${directory}/models.yaml`;
    const models = {
      tiny: { model: `${ROOT}/models/tiny-mla` },
      "golden/lite": { model: fixtureDirectory("deepseek-v2-lite-tiny") },
      later: { model: `${directory}/later` },
    };
    await Deno.writeTextFile(
      file,
      JSON.stringify({ models, server: { maxLoaded: 1, idleSeconds: 600, apiKeys: [KEY], allowedOrigins: ["https://pages.example"] } }),
    );
    server = await startServerWith({ LATENTMESH_LOG_FORMAT: "json" }, "--single", "--config", file);
  });
  afterAll(async () => {
    const { code, log } = await server.stop();
    await Deno.remove(directory, { recursive: true });
    assertEquals(code, 0, log);
    // Every line is an object, in which what happened to which model are values.
    const records = log.trimEnd().split("\n").map((line) => JSON.parse(line));
    const happened = records.filter(({ properties: { model } }) => model === "later").map(({ message }) => message.replace(/[\d.]+ s$/, "… s"));
    assertEquals(happened.slice(0, 3).map((message) => message.slice(0, 36)), [
      "models  later cannot be loaded: Cann",
      "models  loading later",
      "models  later is loaded after … s",
    ], log);
  });

  const headers = { authorization: `Bearer ${KEY}` };
  const ask = (body: object, path = "/v1/completions", more: Record<string, string> = {}) =>
    fetch(`${server.url}${path}`, { method: "POST", headers: { ...headers, ...more }, body: JSON.stringify(body) });
  const states = async () => {
    const { data } = await (await fetch(`${server.url}/v1/models`, { headers })).json();
    return data.map(({ id, status }: { id: string; status: { value: string } }) => `${id} ${status.value}`);
  };
  const short = { prompt: [5, 6, 7], max_tokens: 4, ignore_eos: true, temperature: 0 };

  it("loads the one that a request names, or the first, and says which are loaded", async () => {
    assertEquals(await states(), ["tiny unloaded", "golden/lite unloaded", "later unloaded"]);
    const first = await (await ask(short)).json();
    assertEquals([first.model, first.usage.completion_tokens, await states()], ["tiny", 4, [
      "tiny loaded",
      "golden/lite unloaded",
      "later unloaded",
    ]]);
    const second = await (await ask({ model: "golden/lite", ...short })).json();
    assertEquals([second.model, await states()], ["golden/lite", ["tiny unloaded", "golden/lite loaded", "later unloaded"]]);
    assertEquals((await (await ask({ model: "golden/lite", prompt: "It" }, "/tokenize")).json()).max_model_len, 256);
    const entry = await (await fetch(`${server.url}/v1/models/golden/lite`, { headers })).json();
    assertEquals([entry.id, entry.max_model_len, entry.status], ["golden/lite", 256, { value: "loaded" }]);
    const cluster = await (await fetch(`${server.url}/cluster`, { headers })).json();
    assertEquals(cluster.units.map(({ name }: { name: string }) => name), ["golden/lite/mixed-0"]);
    assertStringIncludes(cluster.summary, "1 of 3 models are loaded: golden/lite");
    assertEquals((await (await fetch(`${server.url}/readyz`)).json()).models.tiny, "unloaded");
    assertStringIncludes(
      await (await fetch(`${server.url}/metrics`, { headers })).text(),
      'latentmesh_unit_up{unit="golden/lite/mixed-0",role="mixed"} 1',
    );
  });

  it("lets a stream end before its model makes room, and those wait that ask meanwhile", async () => {
    const stream = await ask({ ...short, model: "tiny", max_tokens: 200, stream: true });
    const other = ask({ model: "golden/lite", ...short });
    const text = await stream.text();
    assert(text.endsWith("data: [DONE]\n\n") && !text.includes('"error"'), text.slice(-300));
    assertEquals((await (await other).json()).usage.completion_tokens, 4);
    const both = await Promise.all(["tiny", "golden/lite", "tiny"].map(async (model) => (await (await ask({ model, ...short })).json()).model));
    assertEquals(both, ["tiny", "golden/lite", "tiny"]);
  });

  it("refuses names that there are not, strangers and other sites as a server of one does, and loads nothing for them", async () => {
    const before = await states();
    const unknown = await ask({ model: "large", ...short });
    const { error } = await unknown.json();
    assertEquals([unknown.status, error.code, error.param], [404, "model_not_found", "model"]);
    assertStringIncludes(error.message, 'this server serves "tiny", "golden/lite", "later"');
    const stranger = await fetch(`${server.url}/v1/completions`, { method: "POST", body: JSON.stringify({ model: "later", ...short }) });
    const elsewhere = await ask({ model: "later", ...short }, "/v1/completions", { origin: "https://elsewhere.example" });
    const nowhere = await ask({ model: "later" }, "/v1/nowhere");
    assertEquals([stranger.status, elsewhere.status, nowhere.status], [401, 403, 404]);
    await Promise.all([stranger, elsewhere, nowhere].map((response) => response.body!.cancel()));
    assertEquals(await states(), before);
    const page = await ask(short, "/v1/completions", { origin: "https://pages.example" });
    assertEquals([page.status, page.headers.get("access-control-allow-origin")], [200, "https://pages.example"]);
    assert(page.headers.get("x-request-id")!.startsWith("req_"));
    await page.body!.cancel();
    const bad = await ask({ model: "tiny", prompt: "It", nonsense: 1 });
    assertEquals([bad.status, (await bad.json()).error.param], [400, "nonsense"]);
  });

  it("says why a model cannot be loaded, and tries again when it is asked for again", async () => {
    await (await ask(short)).body!.cancel();
    const refused = await ask({ model: "later", ...short });
    const { error } = await refused.json();
    assertEquals([refused.status, error.code, refused.headers.get("retry-after")], [503, "model_not_loaded", "5"]);
    assertStringIncludes(error.message, 'The model "later" cannot be loaded: Cannot load');
    // Nobody makes room for what cannot be loaded.
    assertEquals(await states(), ["tiny loaded", "golden/lite unloaded", "later unloaded"]);
    await Deno.mkdir(`${directory}/later`);
    for await (const { name } of Deno.readDir(late)) await Deno.copyFile(`${late}/${name}`, `${directory}/later/${name}`);
    assertEquals((await (await ask({ model: "later", ...short })).json()).model, "later");
  });

  it("is planned and examined model by model", async () => {
    const [plan, doctor, score] = await Promise.all([
      runCli("plan", "--single", "--device", "cpu", "--config", file, "--json"),
      runCli("doctor", "--single", "--device", "cpu", "--config", file, "--port", "0"),
      runCli("score", "--config", file, "--text", `${ROOT}/tests/golden/public.json`),
    ]);
    const plans = Object.entries<{ ranks: unknown[] }>(JSON.parse(plan.stdout));
    assertEquals(plans.map(([name, { ranks }]) => `${name} ${ranks.length}`), [
      "tiny 1",
      "golden/lite 1",
      "later 1",
    ], plan.stderr);
    assertEquals(doctor.stdout.match(/^ok {4}model .*$/gm)?.length, 3, doctor.stdout);
    assertEquals(doctor.stdout.match(/^ok {4}deno /gm)?.length, 1, doctor.stdout);
    // One that cannot be planned keeps no other from it.
    const partly = `${directory}/partly.yaml`;
    await Deno.writeTextFile(
      partly,
      JSON.stringify({ models: { gone: { model: `${directory}/nowhere` }, tiny: { model: `${ROOT}/models/tiny-mla` } } }),
    );
    for (const json of [[], ["--json"]]) {
      const { code, stdout, stderr } = await runCli("plan", "--single", "--device", "cpu", "--config", partly, ...json);
      assertEquals([code, stdout.includes("ranks") || stdout.includes("# tiny")], [1, true], stdout + stderr);
      assertStringIncludes(stderr, 'Of model "gone": Cannot load');
      if (json.length > 0) assertStringIncludes(JSON.parse(stdout).gone.error, "Cannot load");
    }
    assertStringIncludes(score.stderr, "Cannot use models: this command takes one model, and the file names 3");
  });
});
