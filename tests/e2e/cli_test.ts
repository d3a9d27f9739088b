import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ROOT } from "../support/fixtures.ts";
import { runCli, startServer } from "../support/process.ts";

describe("command line", () => {
  it("lists all flags and the environment in --help", async () => {
    const { code, stdout } = await runCli("serve", "--help");
    assertEquals(code, 0);
    for (const flag of ["--config", "--model", "--host", "--port", "--device", "--weights", "--max-tokens-total", "LATENTMESH_DAWN"]) {
      assertStringIncludes(stdout, flag);
    }
  });

  it("refuses unknown flags, values and files in one line that says what to do", async () => {
    const cases: [string[], string][] = [
      [["serve", "--frobnicate"], "unknown option '--frobnicate'"],
      [["serve", "--device", "tpu"], "Allowed choices are"],
      [["serve", "--port", "99999999"], "server.port"],
      [["serve", "--model", "/nowhere"], "no config.json"],
      [["serve", "--config", "/nowhere.yaml"], "Cannot read /nowhere.yaml"],
      [["score", "--text", "/nowhere.json"], "Cannot read /nowhere.json"],
      [["worker", "--join", "wss://nowhere"], "one process"],
      [["frobnicate"], "unknown command"],
    ];
    const results = await Promise.all(cases.map(([args]) => runCli(...args)));
    results.forEach(({ code, stderr }, i) => {
      assert(code !== 0, cases[i][0].join(" "));
      assertStringIncludes(stderr, cases[i][1]);
      assert(!stderr.includes("    at "), `no stack: ${stderr}`);
    });
  });

  it("prints the JSON Schema of its configuration", async () => {
    const { stdout } = await runCli("config-schema");
    assertEquals(JSON.parse(stdout).properties.server.properties.port.maximum, 65535);
  });

  it("scores documents as JSON", async () => {
    const { code, stdout } = await runCli("score", "--text", `${ROOT}/tests/golden/public.json`, "--limit-tokens", "20", "--device", "cpu", "--json");
    assertEquals(code, 0);
    const report = JSON.parse(stdout);
    assertEquals([report.tokens, report.perDocument.length], [240, 12]);
    assertEquals(report.perplexity, Math.exp(report.nllPerToken));
  });

  it("serves from a configuration file until SIGTERM, then finishes what runs and exits with 0", async () => {
    const file = await Deno.makeTempFile({ suffix: ".yaml" });
    await Deno.writeTextFile(file, "weights: q8\nserver: { modelName: renamed }\n");
    const server = await startServer("--config", file);
    const models = await (await fetch(`${server.url}/v1/models`)).json();
    assertEquals(models.data[0].id, "renamed");
    const running = fetch(`${server.url}/v1/completions`, {
      method: "POST",
      body: JSON.stringify({ prompt: "It was", max_tokens: 60, temperature: 0 }),
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    const stopped = server.stop();
    assertEquals((await (await running).json()).usage.completion_tokens, 60);
    assertEquals((await stopped).code, 0);
    await Deno.remove(file);
  });

  it("does not wait for what runs longer than its shutdown timeout", async () => {
    const server = await startServer("--shutdown-timeout", "0.1");
    const running = fetch(`${server.url}/v1/completions`, {
      method: "POST",
      body: JSON.stringify({ prompt: "It was", max_tokens: 2000, ignore_eos: true }),
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    const [{ code }, response] = await Promise.all([server.stop(), running]);
    assertEquals([code, (await response.json()).error.code], [0, "cancelled"]);
  });
});
