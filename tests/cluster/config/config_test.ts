import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { parseConfig } from "../../../cluster/config/config.ts";
import { settingsOf } from "../../../cluster/config/flags.ts";
import { configJsonSchema, type SchemaNode } from "../../../cluster/config/json_schema.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { Engine } from "../../../mod.ts";

const none = () => undefined;

describe("configuration", () => {
  it("is read from YAML and JSON alike", () => {
    const yaml = parseConfig("model: m\ncache: { maxTokens: 128 }\nserver:\n  port: 0\n", "c.yaml");
    assertEquals(yaml, parseConfig(`{"model":"m","cache":{"maxTokens":128},"server":{"port":0}}`, "c.json"));
    assertEquals(parseConfig("", "empty.yaml"), {});
  });

  it("names the path of what it cannot use", () => {
    const error = assertThrows(() => parseConfig("server: { prot: 1 }", "c.yaml"), LatentmeshError, "server.prot: there is no such setting");
    assertEquals(error.param, "server.prot");
    assertThrows(() => parseConfig("cache: { dtype: f8 }", "c.yaml"), LatentmeshError, "c.yaml: cache.dtype");
    assertThrows(() => parseConfig("a: [", "c.yaml"), LatentmeshError, "Cannot read c.yaml");
  });

  it("tells of all that it cannot use, each with its path", () => {
    const error = assertThrows(
      () => parseConfig("server: { prot: 1, apiKeys: 5 }\ncache: { dtype: f8 }\nzebra: 1\ndecode: { mu: 0, halo: x }", "c.yaml"),
      LatentmeshError,
    );
    assertEquals([error.code, error.message.split("\n")[0]], ["invalid_config", "Cannot use c.yaml:"]);
    const lines = error.message.split("\n").slice(1);
    assertEquals(error.param, lines[0].trim().split(":")[0]);
    assertEquals(lines.map((line) => line.trim()).sort(), [
      'cache.dtype: expected "f16", "f32" or "q8", got "f8"',
      'decode.halo: expected "auto" or a whole number of at least 0, got "x"',
      "decode.mu: expected a number above 0, got 0",
      "server.apiKeys: expected a text that is not empty or a list that is not empty",
      "server.prot: there is no such setting; did you mean server.port?",
      "zebra: there is no such setting",
    ]);
    const many = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`x${i}`, 1]));
    const { message } = assertThrows(() => parseConfig(JSON.stringify(many), "c.yaml"), LatentmeshError);
    assertEquals([message.split("\n").length, message.endsWith("\n  and 30 more")], [22, true]);
  });

  it("tells of all flags, options and models that it cannot use, by the names that they were given", async () => {
    const flags = await assertRejects(() => settingsOf({ ranks: 1000, maxBatch: 0 }), LatentmeshError);
    assertEquals(flags.message.split("\n"), [
      "Cannot use the flags:",
      "  --ranks (decode.ranks in a cluster file): expected a whole number from 1 to 64, got 1000",
      "  --max-batch (decode.maxBatch in a cluster file): expected a whole number from 1 to 1024, got 0",
    ]);
    const together = await assertRejects(() => settingsOf({ device: "cpu", threads: 2, ranks: 1, pingPong: true, host: "0.0.0.0" }), LatentmeshError);
    assertEquals([together.param, together.message.split("\n").map((line) => line.split(": ")[0])], ["threads", [
      "Cannot use threads",
      "Cannot use --ping-pong (decode.pingPong in a cluster file)",
      "Cannot use --host (server.host in a cluster file)",
    ]]);
    const keys = { server: { host: "0.0.0.0", apiKeys: "short" }, cluster: { listen: "nowhere" } };
    const { message: ofKeys } = assertThrows(() => resolveSettings({}, keys, none), LatentmeshError);
    assertEquals(ofKeys.split("\n").map((line) => line.split(": ")[0]), ["Cannot use server.apiKeys", "Cannot use cluster.listen"]);
    const options = await assertRejects(() => Engine.load({ maxBatch: 0, maxStepMs: 0 }), LatentmeshError);
    assertEquals([options.param, options.message.split("\n").map((line) => line.split(":")[0])], ["maxBatch", [
      "Cannot use the options",
      "  maxBatch",
      "  maxStepMs",
    ]]);
    const models = parseConfig(
      "models: { a: { decode: { ranks: 1, pingPong: true } }, b: {}, c: { decode: { ranks: 1, pingPong: true } } }",
      "c.yaml",
    );
    const { message } = assertThrows(() => resolveSettings({}, models, none), LatentmeshError);
    assertEquals(message.split("\n").map((line) => line.slice(0, 35)), [
      'Of model "a": Cannot use decode.pin',
      'Of model "c": Cannot use decode.pin',
    ]);
  });

  it("says what it expected and what it got, in words for people", () => {
    const problems: [string, string][] = [
      ["prefill: { workers: two }", 'prefill.workers: expected a whole number from 0 to 64, got "two"'],
      ["prefill: { workers: 65 }", "prefill.workers: expected a whole number from 0 to 64, got 65"],
      ["prefill: { workers: 1.5 }", "prefill.workers: expected a whole number from 0 to 64, got 1.5"],
      ["decode: { mu: 0 }", "decode.mu: expected a number above 0, got 0"],
      ["cache: { memory: 2 }", "cache.memory: expected a number above 0 and of at most 1, got 2"],
      ["cache: { blockTokens: 32 }", "cache.blockTokens: expected 64, got 32"],
      ["cache: { dtype: f8 }", 'cache.dtype: expected "f16", "f32" or "q8", got "f8"'],
      ["decode: { halo: some }", 'decode.halo: expected "auto" or a whole number of at least 0, got "some"'],
      ["decode: { paper: yes please }", 'decode.paper: expected true or false, got "yes please"'],
      ["decode: 2", "decode: expected a section with settings of its own, got 2"],
      ["model: ''", 'model: expected a text that is not empty, got ""'],
      ["server: { limits: { concurrent: 0 } }", "server.limits.concurrent: expected a whole number of at least 1, got 0"],
      ["cluster: { hosts: [{ name: 'a b' }] }", 'cluster.hosts.0.name: it must be 1 to 64 letters, digits, dots, dashes or underscores, got "a b"'],
      ["cluster: { hosts: [{}] }", "cluster.hosts.0.name: expected a text, and it is missing"],
      ["cluster: { hosts: [] }", "cluster.hosts: expected a list that is not empty, got []"],
      // A key is shown to nobody.
      ["server: { apiKeys: 123456789 }", "server.apiKeys: expected a text that is not empty or a list that is not empty"],
    ];
    for (const [text, problem] of problems) {
      assertEquals(assertThrows(() => parseConfig(text, "c.yaml"), LatentmeshError).message, `Cannot use c.yaml: ${problem}`);
    }
  });

  it("says what a misspelled setting may have been meant as", () => {
    const meant: [string, string | null][] = [
      ["server: { prot: 1 }", "server.port"],
      ["decode: { max_batch: 8 }", "decode.maxBatch"],
      ["decod: {}", "decode"],
      ["port: 1", "server.port"],
      ["prefillWorkers: 1", "prefill.workers"],
      ["gpus: [0]", "cluster.hosts"],
      ["cluster: { hosts: [{ name: a, gpu: [0] }] }", "cluster.hosts.0.gpus"],
      ["zebra: 1", null],
    ];
    for (const [text, path] of meant) {
      const { message } = assertThrows(() => parseConfig(text, "c.yaml"), LatentmeshError);
      assertEquals(/there is no such setting(?:; did you mean (.*)\?)?$/.exec(message)?.[1] ?? null, path, message);
    }
  });

  it("takes keys, origins and what is meant to be open from flags, too", async () => {
    const settings = await settingsOf({
      apiKey: ["a-key-of-the-tests", "another-key-of-the-tests"],
      allowedOrigin: ["https://pages.example/", "app://x"],
    });
    assertEquals(settings.apiKeys, ["a-key-of-the-tests", "another-key-of-the-tests"]);
    assertEquals(settings.allowedOrigins, ["https://pages.example", "app://x"]);
    assertEquals((await settingsOf({ allowedOrigin: ["*"] })).allowedOrigins, ["*"]);
    assertEquals((await settingsOf({ host: "0.0.0.0", insecure: true })).host, "0.0.0.0");
    await assertRejects(() => settingsOf({ host: "0.0.0.0" }), LatentmeshError, "--insecure");
    await assertRejects(() => settingsOf({ allowedOrigin: ["pages"] }), LatentmeshError, "--allowed-origin");
    await assertRejects(() => settingsOf({ apiKey: ["short"] }), LatentmeshError, "--api-key (server.apiKeys in a cluster file): a key has fewer");
  });

  it("lets a file say where its schema is", () => {
    assertEquals(parseConfig("$schema: ./latentmesh.json", "c.yaml"), { $schema: "./latentmesh.json" });
  });

  it("has a schema for editors in which every setting has a title, says what it is, and what holds without it", () => {
    const undefaulted: string[] = [];
    const walk = (node: SchemaNode, path: string) => {
      assert((node.title ?? "") !== "" && (node.description ?? "") !== "", path);
      const named = typeof node.additionalProperties === "object" ? [node.additionalProperties] : [];
      const inner = [node, node.items ?? {}, ...named, ...node.anyOf ?? []].flatMap(({ properties }) => Object.entries(properties ?? {}));
      for (const [key, child] of inner) walk(child, `${path}.${key}`);
      // What holds for one of several models is what is said beside them.
      if (path.startsWith(".models.")) return;
      if (inner.length === 0 && node.default === undefined && !/default|[Ww]ithout|instead of|belong/.test(node.description!)) undefaulted.push(path);
    };
    const schema = configJsonSchema();
    walk(schema, "");
    assertEquals(undefaulted, [".$schema", ".cluster.hosts.name"]);
    const { decode, mixed } = schema.properties!;
    assertEquals([decode.properties!.ranks.default, mixed.properties!.maxStepMs.title], [2, "Max step ms"]);
  });

  it("gives each of several models its own settings over those of all", () => {
    const file = parseConfig(
      `weights: q8
cache: { maxTokens: 640 }
models:
  tiny: { gpus: [1], idleSeconds: 0 }
  org/lite: { model: lite, weights: keep, cache: { dtype: f16 }, mixed: { workers: 2 }, keepLoaded: true }
server: { idleSeconds: 60, maxLoaded: 2, port: 1 }
cluster: { hosts: [{ name: here, gpus: [0, 1] }] }`,
      "c.yaml",
    );
    const { several, port } = resolveSettings({ device: "deno" }, file, none);
    assertEquals([several!.maxLoaded, port], [2, 1]);
    const [tiny, lite] = several!.models;
    assertEquals([tiny.name, tiny.idleSeconds, tiny.keepLoaded, lite.name, lite.idleSeconds, lite.keepLoaded], [
      "tiny",
      0,
      false,
      "org/lite",
      60,
      true,
    ]);
    assertEquals(
      [tiny, lite].map(({ settings }) => [settings.weights, settings.maxTokensTotal, settings.cacheDtype, settings.modelName, settings.device]),
      [
        ["q8", 640, undefined, "tiny", "deno"],
        ["keep", 640, "f16", "org/lite", "deno"],
      ],
    );
    assertEquals([tiny, lite].map(({ settings }) => [settings.cluster.hosts[0].gpus, settings.mixed.workers, settings.unitsGiven]), [
      [[1], 0, false],
      [[0, 1], 2, true],
    ]);
    assertEquals(resolveSettings({}, { model: "m" }, none).several, null);
    const hosts = "cluster: { token: 0123456789abcdef, listen: '127.0.0.1:1', hosts: [{ name: a }, { name: b, join: true }] }";
    const refused: [string, string][] = [
      ["models: {}", "models: it must name a model"],
      ["models: { a: { model: m, weight: q4 } }", "models.a.weight: there is no such setting; did you mean models.a.weights?"],
      ["models: { a: { cache: { dtype: f8 } } }", 'models.a.cache.dtype: expected "f16", "f32" or "q8", got "f8"'],
      ["models: { a b: {} }", 'models.a b: the name must be 1 to 96 letters, digits and . : / @ _ -, got "a b"'],
      ["model: m\nmodels: { a: {} }", "Cannot use model: models says what is served"],
      ["models: { a: {} }\nserver: { modelName: x }", "Cannot use server.modelName: models have their names"],
      [`models: { a: {} }\n${hosts}`, "Cannot use models: hosts that join compute one model"],
      ["models: { a: { keepLoaded: true }, b: {} }\nserver: { maxLoaded: 1 }", "Cannot use server.maxLoaded: it is 1, and 1 are kept loaded"],
      ["models: { a: { decode: { ranks: 1, pingPong: true } } }", 'Of model "a": Cannot use decode.pingPong'],
      ["server: { maxLoaded: 1 }", "Cannot use server.maxLoaded: it is of several models"],
      ["server: { idleSeconds: 1 }", "Cannot use server.idleSeconds: it is of several models"],
    ];
    for (const [text, problem] of refused) {
      const { message } = assertThrows(() => resolveSettings({}, parseConfig(text, "c.yaml"), none), LatentmeshError);
      assert(message.includes(problem), `${problem}: ${message}`);
    }
  });

  it("prefers flags to the file, the file to the environment, and that to defaults", () => {
    const env = (name: string) => ({ LATENTMESH_MODEL: "env", LATENTMESH_DEVICE: "dawn" })[name];
    const settings = resolveSettings({ device: "cpu" }, { model: "file", device: "deno", server: { port: 1 } }, env);
    assertEquals([settings.model, settings.device, settings.port, settings.host], ["file", "cpu", 1, "127.0.0.1"]);
    assertEquals(resolveSettings({}, {}, env).model, "env");
    assertEquals(resolveSettings({}, {}, none).model.endsWith("/models/tiny-mla"), true);
  });

  it("gives this host, and no other, the GPUs of --gpus", async () => {
    assertEquals((await settingsOf({ gpus: [0, 1] })).cluster.hosts, [{ name: "local", gpus: [0, 1] }]);
    const config = await Deno.makeTempFile({ suffix: ".yaml" });
    try {
      await Deno.writeTextFile(
        config,
        "cluster: { token: secret-of-this-test, listen: '127.0.0.1:7000', hosts: [{ name: a, gpus: [3] }, { name: b, gpus: [2], join: true }] }",
      );
      const { cluster } = await settingsOf({ config, gpus: [0, 1] });
      assertEquals(cluster.hosts.map(({ name, gpus }) => [name, gpus]), [["a", [0, 1]], ["b", [2]]]);
      assertEquals((await settingsOf({ config })).cluster.hosts[0].gpus, [3]);
      await Deno.writeTextFile(config, "cluster: { hosts: [{ name: b, join: true }] }");
      await assertRejects(() => settingsOf({ config, gpus: [0] }), LatentmeshError, "no worker runs here");
    } finally {
      await Deno.remove(config);
    }
  });

  it("leaves V8 to workers unless the environment says what it is", () => {
    const wide = (value: string | undefined) => resolveSettings({}, {}, (name) => (name === "LATENTMESH_WASM_WIDE" ? value : undefined)).tuning.wide;
    assertEquals([wide(undefined), wide("off"), wide("on")], [undefined, false, true]);
  });

  it("refuses an environment it cannot parse", () => {
    assertThrows(() => resolveSettings({}, {}, (name) => (name === "LATENTMESH_DEVICE" ? "gpu" : undefined)), LatentmeshError, "LATENTMESH_DEVICE");
    const threads = (name: string) => (name === "LATENTMESH_THREADS" ? "many" : undefined);
    assertThrows(() => resolveSettings({}, {}, threads), LatentmeshError, 'LATENTMESH_THREADS: expected a whole number from 1 to 256, got "many"');
  });
});
