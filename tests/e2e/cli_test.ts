import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { refusedHere, runHere } from "../support/cli_here.ts";
import { ROOT } from "../../bench/support/root.ts";
import { runCli, runCliWith, startServer, startServerWith, TASK_ENV, taskCommand } from "../../bench/support/process.ts";

describe("command line", () => {
  it("lists all flags and the environment in --help", async () => {
    const { code, stdout } = await runCli("serve", "--help");
    assertEquals(code, 0);
    for (
      const flag of [
        "--config",
        "--model",
        "--host",
        "--port",
        "--device",
        "--weights",
        "--max-tokens-total",
        "--ranks",
        "--single",
        "--gpus",
        "LATENTMESH_DAWN",
      ]
    ) {
      assertStringIncludes(stdout, flag);
    }
    // Every flag is under one of the headings, which come in this order.
    assertEquals([...stdout.matchAll(/^(\w+):$/gm)].map(([, heading]) => heading), [
      "Everyday",
      "Cluster",
      "Fronts",
      "TPLA",
      "Limits",
      "Examples",
      "Environment",
    ]);
  });

  it("refuses unknown flags, values and files in one line that says what to do", async () => {
    const cases: [string[], string][] = [
      [["serve", "--frobnicate"], "unknown option '--frobnicate'"],
      [["serve", "--device", "tpu"], "Allowed choices are"],
      [["serve", "--port", "99999999"], "server.port"],
      [["serve", "--model", "/nowhere"], "no config.json"],
      [["serve", "--model", "synthetic:v4"], "there are tiny, v2-lite"],
      [["serve", "--model", "synthetic:tiny", "--basis", "balanced"], "synthetic models take identity or hadamard"],
      [["calibrate", "--model", "synthetic:tiny"], "nothing to calibrate"],
      [["calibrate"], "Say what to calibrate: --model DIR"],
      [["calibrate", "--tokens", "0", "--output", "/nowhere"], "'--tokens <n>' argument '0' is invalid. It must be at least 1"],
      [["score", "--text", "/nowhere.json", "--limit-tokens", "0"], "'--limit-tokens <n>' argument '0' is invalid. It must be at least 1"],
      [["serve", "--config", "/nowhere.yaml"], "Cannot read /nowhere.yaml"],
      [["score", "--text", "/nowhere.json"], "Cannot read /nowhere.json"],
      [["serve", "--port", "0", "--attention", "mla", "--latent-groups", "2"], "latentGroups is 2"],
      [["serve", "--port", "0", "--ranks", "3", "--latent-groups", "2"], "latentGroups is 2, which does not divide ranks"],
      [["serve", "--port", "0", "--paper", "--halo", "8"], "the paper's scheme has none"],
      [["serve", "--host", "0.0.0.0"], "server.apiKeys"],
      [["serve", "--single", "--gpus", "0,1"], "cannot be used with option '--gpus <list>'"],
      [["plan", "--single", "--ranks", "2"], "cannot be used with option '--ranks <k>'"],
      [["plan", "--single", "--compare"], "cannot be used with option '--single'"],
      [["serve", "--gpus", "0;1"], "It must be a whole number"],
      [["serve", "--mu", "much"], "It must be a number"],
      [["serve", "--max-step-ms", "soon"], "It must be a number"],
      [["worker", "--join", "wss://nowhere"], "required option '--advertise <host>'"],
      [["worker", "--join", "wss://nowhere:1", "--advertise", "127.0.0.2"], "LATENTMESH_TOKEN"],
      [["plan", "--ranks", "1000"], "Cannot use the flags: --ranks (decode.ranks in a cluster file): expected a whole number from 1 to 64, got 1000"],
      [["serve", "--mixed", "1", "--ranks", "2"], "--ranks (decode.ranks in a cluster file): mixed units compute prompts and generate by themselves"],
      [["serve", "--prefill-workers", "0", "--ping-pong"], "--ping-pong (decode.pingPong in a cluster file): mixed units"],
      [["serve", "--max-step-ms", "0"], "mixed.maxStepMs"],
      [["serve", "--device", "wasm", "--gpus", "0"], "Cannot use --gpus: workers of --device wasm compute on processors"],
      [["serve", "--mixed", "1", "--exchange", "websocket"], "--exchange (decode.exchange in a cluster file): every unit has one worker"],
      [["plan", "--ranks", "1", "--feed-forward", "sharded"], "--feed-forward (decode.feedForward in a cluster file): whatever generates"],
      [["serve", "--device", "cpu", "--threads", "2"], "they are of device wasm"],
      [["serve", "--exchnage", "auto"], "Did you mean --exchange?"],
      [["frobnicate"], "unknown command"],
    ];
    for (const [args, problem] of cases) assertStringIncludes(await refusedHere(...args), problem);
    // And so for whoever runs a process: what is wrong with flags, with files, and with both.
    const ended = [["serve", "--frobnicate"], ["serve", "--config", "/nowhere.yaml"], ["plan", "--ranks", "1000"]];
    const results = await Promise.all(ended.map((args) => runCli(...args)));
    results.forEach(({ code, stderr }, i) => {
      assert(code !== 0, ended[i].join(" "));
      assertStringIncludes(stderr, cases.find(([args]) => args.join() === ended[i].join())![1]);
      assert(!stderr.includes("    at "), `no stack: ${stderr}`);
    });
  });

  it("says nothing of a session's folder that drivers miss, as in containers", async () => {
    const { PATH, HOME } = Deno.env.toObject();
    const { stderr, code } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `${ROOT}/cluster/main.ts`, "doctor", "--port", "0"],
      clearEnv: true,
      env: { ...TASK_ENV, PATH, HOME },
    }).output();
    const said = new TextDecoder().decode(stderr);
    assertEquals([code, said.includes("XDG_RUNTIME_DIR")], [0, false], said);
  });

  it("prints the JSON Schema of its configuration", async () => {
    const { stdout } = await runCli("config-schema");
    assertEquals(JSON.parse(stdout).properties.server.properties.port.maximum, 65535);
  });

  it("ends a worker that can never join with code 3 and the flag to change", async () => {
    const api = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => new Response("", { status: 404 }));
    const args = ["worker", "--join", `ws://127.0.0.1:${api.addr.port}`, "--advertise", "127.0.0.2", "--device", "wasm"];
    const { code, stderr } = await taskCommand(args, { LATENTMESH_TOKEN: "a token for tests only" }).output();
    await api.shutdown();
    assertEquals(code, 3);
    assertStringIncludes(new TextDecoder().decode(stderr), 'give --join the address that serve logs as "join"');
  });

  it("plans before loading what loading then takes", async () => {
    const { code, stdout } = await runCli("plan", "--device", "cpu", "--ranks", "4", "--latent-groups", "2", "--json");
    assertEquals(code, 0);
    const plan = JSON.parse(stdout);
    assertEquals([plan.config.decode.halo, plan.config.decode.latentGroups, plan.config.cache.dtype, plan.config.prefill.chunk], [
      "auto",
      2,
      "f32",
      64,
    ]);
    // What is printed is a cluster file that gives the same plan.
    const file = await Deno.makeTempFile({ suffix: ".yaml" });
    const printed = await runHere("plan", "--device", "cpu", "--ranks", "4", "--latent-groups", "2");
    await Deno.writeTextFile(file, printed.split("\n\n")[0]);
    assertEquals(JSON.parse(await runHere("plan", "--config", file, "--json")), plan);
    await Deno.remove(file);
    const widths = plan.ranks.map(({ slot, cachedWidth }: { slot: { name: string }; cachedWidth: number }) => `${slot.name} ${cachedWidth}`);
    assertEquals(widths, ["decode-0.0 96", "decode-0.1 96", "decode-0.2 96", "decode-0.3 96", "prefill-0.0 144"]);
    const uniform = JSON.parse(await runHere("plan", "--device", "cpu", "--ranks", "2", "--halo", "16", "--json"));
    assertEquals([uniform.config.decode.halo, uniform.ranks.map(({ cachedWidth }: { cachedWidth: number }) => cachedWidth)], [16, [80, 96, 144]]);
    assertEquals(plan.wireBytesPerToken, 12 * 320 * 4 * 3);
    assertEquals(plan.handoffBytesPerPromptToken, 6 * (96 + 96 + 96 + 96) * 4);
  });

  it("plans groups whose ranks compute prompts themselves, with what they keep whole of them, and takes what it prints", async () => {
    const args = ["--device", "cpu", "--ranks", "2", "--prefill-workers", "0", "--max-tokens-total", "4096"];
    const plan = JSON.parse(await runHere("plan", ...args, "--json"));
    const stdout = await runHere("plan", ...args);
    const file = await Deno.makeTempFile({ suffix: ".yaml" });
    await Deno.writeTextFile(file, stdout.split("\n\n")[0]);
    assertEquals(JSON.parse(await runHere("plan", "--config", file, "--json")), plan);
    await Deno.remove(file);
    const kept = plan.ranks.map((
      { slot, cachedWidth, promptCacheBytes }: { slot: { name: string }; cachedWidth: number; promptCacheBytes: number },
    ) => `${slot.name} ${cachedWidth} ${promptCacheBytes}`);
    // 128 + 16 values of each of 4096 tokens in six layers, in f32.
    const whole = 4096 * 144 * 6 * 4;
    assertEquals(kept, [`mixed-0.0 96 ${whole}`, `mixed-0.1 96 ${whole}`], stdout);
    assertStringIncludes(stdout, "whole prompts                  4096 tokens");
  });

  it("plans what serve would choose, and what else there is", async () => {
    // In this process alone, which takes no more than one mixed worker.
    const alone = JSON.parse(await runHere("plan", "--device", "cpu", "--single", "--port", "9000", "--json"));
    assertEquals(alone.ranks.map(({ slot }: { slot: { name: string } }) => slot.name), ["mixed-0.0"]);
    assertEquals([alone.config.server.port, alone.handoffBytesPerPromptToken], [9000, 0]);
    // A model of one's own, without a GPU.
    const args = ["--device", "cpu", "--model", "synthetic:tiny"];
    const stdout = await runHere("plan", ...args, "--json");
    const plan = JSON.parse(stdout);
    assertEquals(plan.ranks.map(({ slot, role }: { slot: { name: string }; role: string }) => `${slot.name} ${role}`), ["mixed-0.0 mixed"]);
    assertEquals([plan.config.mixed.workers, plan.handoffBytesPerPromptToken, plan.collectivesPerToken], [1, 0, 0]);
    const file = await Deno.makeTempFile({ suffix: ".yaml" });
    await Deno.writeTextFile(file, (await runHere("plan", ...args)).split("\n\n")[0]);
    assertEquals(JSON.parse(await runHere("plan", "--config", file, "--json")), plan);
    for (
      const scheme of [["--ranks", "2", "--attention", "mla"], ["--ranks", "2", "--attention", "dcp"], ["--ranks", "2", "--basis", "hadamard"], [
        "--ranks",
        "2",
        "--prefill-workers",
        "0",
      ]]
    ) {
      const planned = await runHere("plan", ...args, ...scheme);
      await Deno.writeTextFile(file, planned.split("\n\n")[0]);
      assertEquals(await runHere("plan", "--config", file), planned, "a resolved file gives the same again");
    }
    const shared = await runHere("plan", ...args, "--ranks", "7", "--attention", "dcp", "--speculate", "off");
    await Deno.writeTextFile(file, shared.split("\n\n")[0]);
    assertStringIncludes(shared, "speculate: off");
    assert(!/\d\.\d{4}/.test(shared), `figures for people: ${shared}`);
    assertEquals(await runHere("plan", "--config", file), shared, "how tokens are guessed is part of it");
    const paper = JSON.parse(await runHere("plan", "--device", "cpu", "--ranks", "2", "--paper", "--json"));
    assertEquals([paper.config.decode.basis, paper.config.decode.lambda], ["pca", undefined]);
    await Deno.remove(file);
    // A machine whose GPUs are not used, unless somebody says so.
    const onCpu = (...more: string[]) => runCliWith({ LATENTMESH_DEVICE: "cpu" }, "plan", "--model", "synthetic:tiny", ...more);
    const ways = JSON.parse((await onCpu("--gpus", "0,1,2", "--compare", "--json")).stdout);
    assertEquals(ways.map(({ flags, chosen }: { flags: string; chosen: boolean }) => `${flags} ${chosen}`), [
      "--mixed 3 false",
      "--ranks 2 --attention tpla false",
      "--ranks 3 --attention tpla --prefill-workers 0 false",
      "--ranks 3 --attention mla --prefill-workers 0 false",
      "--ranks 3 --attention dcp --prefill-workers 0 false",
    ]);
    const table = await onCpu("--gpus", "0,1", "--compare");
    assertStringIncludes(table.stdout, "  one mixed worker on each of 2 GPUs");
    assertStringIncludes(table.stdout, "serve takes one mixed worker, since no GPU is used");
    assertStringIncludes(await runHere("plan", ...args, "--compare"), "* one mixed worker");
    assertStringIncludes(
      await runHere("plan", ...args, "--compare", "--ranks", "2"),
      "without what flags or file say of units, serve takes one mixed worker",
    );
    assertStringIncludes(table.stdout, "? steps and tokens/s are predicted for GPUs only");
    assertStringIncludes((await runCli("plan", "--model", "synthetic:tiny", "--gpus", "0,63")).stdout, "Cannot use GPU ");
  });

  it("examines what it needs, and says what to do", async () => {
    const good = await runCli("doctor", "--device", "cpu", "--port", "0");
    assertEquals([good.code, good.stdout.includes("Everything is in order.")], [0, true], good.stdout);
    const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const bad = await runCli("doctor", "--device", "cpu", "--port", String((taken.addr as Deno.NetAddr).port), "--model", "/nowhere");
    taken.close();
    assertEquals(bad.code, 1);
    assertStringIncludes(bad.stdout, "choose another with --port");
    assertEquals(bad.stdout.split("no config.json").length, 2, "one fault is said once");
    const large = await runCli("doctor", "--device", "wasm", "--port", "0", "--model", "synthetic:v2-lite", "--weights", "q4", "--mixed", "1");
    assertEquals(large.code, 1);
    assertStringIncludes(large.stdout, "on device wasm a worker has 4 GiB at most; use a smaller cache");
    const gpus = await runCli("doctor", "--port", "0", "--gpus", "63");
    assertEquals([gpus.code, /fail\s+gpus\s+Cannot use GPU 63/.test(gpus.stdout)], [1, true], gpus.stdout);
  });

  it("scores documents as JSON", async () => {
    const text = `${ROOT}/tests/golden/public.json`;
    const { code, stdout } = await runCli("score", "--text", text, "--limit-tokens", "20", "--device", "wasm", "--json");
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

  it("calibrates a model that has no basis on its first start, and only then", async () => {
    const cache = await Deno.makeTempDir();
    const logs: string[] = [];
    for (let start = 0; start < 2; start++) {
      const server = await startServerWith({ XDG_CACHE_HOME: cache }, "--ranks", "2", "--model", `${ROOT}/tests/golden/deepseek-v2-lite-tiny`);
      const response = await fetch(`${server.url}/v1/completions`, {
        method: "POST",
        body: JSON.stringify({ prompt: "It", max_tokens: 2, temperature: 0 }),
      });
      assertEquals((await response.json()).usage.completion_tokens, 2);
      const { code, log } = await server.stop();
      assertEquals(code, 0);
      logs.push(log);
    }
    assertStringIncludes(logs[0], "calibrating:");
    assertStringIncludes(logs[0], "from 16384 tokens");
    assert(!logs[1].includes("calibrating"), logs[1]);
    await Deno.remove(cache, { recursive: true });
  });

  it("does not wait for what runs longer than its shutdown timeout", async () => {
    const server = await startServer("--single", "--shutdown-timeout", "0.1");
    const running = fetch(`${server.url}/v1/completions`, {
      method: "POST",
      body: JSON.stringify({ prompt: "It was", max_tokens: 2000, ignore_eos: true }),
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    const [{ code }, response] = await Promise.all([server.stop(), running]);
    assertEquals([code, (await response.json()).error.code], [0, "capacity"]);
  });
});
