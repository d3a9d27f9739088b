/**
 * The bench of the whole product: what it asks, what it makes of what came, and once, small, all of it.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { wholeFigures } from "../../bench/report/whole_figures.ts";
import type { Timing } from "../../bench/serve/load_client.ts";
import type { Source } from "../../bench/source.ts";
import { distinctShare, Floor } from "../../bench/whole/floor.ts";
import { parseOptions } from "../../bench/whole/options.ts";
import type { WholeResult } from "../../bench/whole/result.ts";
import { promptShareOf, shareOf } from "../../bench/whole/shares.ts";
import type { RankTotals, ServerTotals } from "../../bench/whole/server.ts";
import { configFor, mostGenerated } from "../../bench/whole/sizing.ts";
import { timesOf } from "../../bench/whole/times.ts";
import { HangError, Watch } from "../../bench/whole/watch.ts";
import { resolveSettings } from "../../cluster/config/settings.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { SyntheticFiles } from "../../core/model/synthetic/synthetic_files.ts";
import { newStepParts, newStepTimes } from "../../core/step_times.ts";
import { MeasuringDevice } from "../../kernels/device/measuring_device.ts";
import { loadWeights } from "../../workers/load/loader.ts";
import { until } from "../../bench/support/until.ts";
import { ROOT } from "../../bench/support/root.ts";
import { SEED } from "../../bench/support/random.ts";

describe("bench whole", () => {
  it("runs every case on every server that is asked for, and says what it cannot measure before it starts", () => {
    const { runs, cases, model } = parseOptions([
      "--shape",
      "moonlight",
      "--layers",
      "3",
      "--topology",
      "ranks=1,ranks=2",
      "--attention",
      "tpla,mla",
      "--device",
      "dawn,deno",
      "--cases",
      "1x1024,64x256",
    ]);
    assertEquals(model, "synthetic:moonlight?layers=3");
    assertEquals(cases, [{ batch: 1, context: 1024 }, { batch: 64, context: 256 }]);
    assertEquals([runs.length, new Set(runs.map((run) => JSON.stringify(run))).size], [8, 8]);
    const several = parseOptions(["--topology", "single,mixed,mixed=2,ranks=1,ranks=2", "--cases", "16x1024"]);
    assertEquals(several.runs.map(({ ranks, mixed, attention }) => [ranks, mixed, attention]), [
      [null, true, "mla"],
      [1, true, "mla"],
      [2, true, "mla"],
      [1, false, "mla"],
      [2, false, "tpla"],
    ]);
    const shared = parseOptions(["--topology", "ranks=2", "--attention", "mla,tpla,dcp", "--cases", "16x1024"]);
    const sizes = shared.runs.map((run) => {
      const { decode, cache } = configFor(shared, run);
      return [decode!.attention, decode!.halo, cache!.maxTokens! % 128];
    });
    assertEquals(sizes.map(([attention, halo]) => [attention, halo]), [["mla", undefined], ["tpla", undefined], ["dcp", undefined]]);
    assertEquals(sizes[2][2], 0, "whole blocks of two ranks");
    const sliced = parseOptions(["--topology", "single,mixed,mixed=2", "--attention", "tpla,mla", "--cases", "16x1024", "--halo", "8"]);
    assertEquals(sliced.runs.map(({ ranks, attention }) => [ranks, attention]), [[null, "mla"], [1, "mla"], [2, "tpla"], [2, "mla"]]);
    for (const run of sliced.runs) {
      const { mixed, decode: { scheme }, prefill } = resolveSettings(configFor(sliced, run), {}, () => undefined);
      assertEquals([mixed.ranks, scheme.attention, scheme.halo], [run.ranks ?? 1, run.attention, run.attention === "tpla" ? 8 : undefined]);
      assertEquals(prefill.cacheTokens !== undefined, run.attention === "tpla", "prompts come twice, the second time from there");
    }
    const eightBits = parseOptions(["--cache-dtype", "q8"]);
    assertEquals(eightBits.runs.map((run) => configFor(eightBits, run).cache!.dtype), ["q8"]);
    assertThrows(() => parseOptions(["--cache-dtype", "q4"]), Error, "--cache-dtype");
    for (const run of several.runs) {
      const { mixed, prefill } = resolveSettings(configFor(several, run), {}, () => undefined);
      assertEquals([mixed.workers, prefill.workers], run.mixed ? [1, 0] : [0, 1]);
    }
    const wrong: [string[], string][] = [
      [["--topology", "ranks"], "there are single, mixed, mixed=2, ranks=1"],
      [["--topology", "mixed=0"], "there are single, mixed"],
      [["--cases", "16*1024"], "BATCHxCONTEXT"],
      [["--device", "cuda"], "none of dawn, deno"],
      [["--exchange", "pigeons"], "none of auto, shared-memory"],
      [["--tokens", "many"], "no whole number"],
    ];
    for (const [args, problem] of wrong) assertThrows(() => parseOptions(args), Error, problem);
    assertThrows(() => parseOptions(["--shape", "v4"]), LatentmeshError, "There is no shape");
  });

  it("makes caches that hold all streams of a case to their ends", () => {
    const some = fc.record({ batch: fc.integer({ min: 1, max: 64 }), context: fc.integer({ min: 1, max: 40_000 }) });
    fc.assert(
      fc.property(fc.array(some, { minLength: 1, maxLength: 4 }), fc.integer({ min: 2, max: 500 }), (cases, tokens) => {
        const options = parseOptions(["--cases", cases.map(({ batch, context }) => `${batch}x${context}`).join(), "--tokens", `${tokens}`]);
        // Throws if the file is not one.
        const { maxTokensTotal, prefill, decode } = resolveSettings(configFor(options, options.runs[0]), {}, () => undefined);
        for (const one of cases) {
          const blocks = Math.ceil((one.context + mostGenerated(one, options) + 1) / 64);
          assert(maxTokensTotal! >= one.batch * (blocks + 1) * 64 && decode.maxBatch >= one.batch);
          assert(prefill.cacheTokens! >= one.batch * Math.ceil(one.context / 64) * 64);
        }
      }),
      { seed: SEED, numRuns: 50 },
    );
    const once = parseOptions([
      "--cases",
      "90x32768",
      "--once",
      "--lead",
      "3000",
      "--prefill-cache",
      "65536",
      "--topology",
      "ranks=2",
      "--tokens",
      "64",
    ]);
    const { maxTokensTotal, prefill } = resolveSettings(configFor(once, once.runs[0]), {}, () => undefined);
    assertEquals([once.once, prefill.cacheTokens, maxTokensTotal! > 90 * (32768 + 3000)], [true, 65536, true]);
  });

  it("takes from clients only what came when all streams ran, and tells the first steps from later ones", () => {
    // The second stream begins 1000 ms after the first, and from then on steps take 10 ms, later 5.
    const stream = (first: number, step: (i: number) => number, count: number): Timing => {
      const tokens: [number, number][] = [[first, 1]];
      for (let i = 1; i < count; i++) tokens.push([tokens[i - 1][0] + step(i), 1]);
      return { sentAt: 0, tokens, endedAt: 0, error: null };
    };
    const early = stream(100, (i) => i <= 100 ? 9 : i <= 164 ? 10 : 5, 400);
    const late = stream(1000, (i) => i <= 64 ? 10 : 5, 300);
    const times = timesOf({ first: [early, late], together: [early, late], tokens: 100, promptTokens: 500 });
    assertEquals(times.firstToken, { p50: 1000, max: 1000 });
    assertEquals(times.prefillTokensPerSecond, 500);
    assertEquals([times.firstSteps.p50, times.firstSteps.p99, times.laterSteps!.p50], [10, 10, 5]);
    // 100 tokens of each in 64 × 10 + 36 × 5 ms.
    assertAlmostEquals(times.tokensPerSecond, 200 / 0.82, 1);
    assertThrows(
      () => timesOf({ first: [early], together: [stream(100, () => 9, 50), late], tokens: 100, promptTokens: 1 }),
      Error,
      "ended before others",
    );
    // Two tokens in one event are two steps.
    const pairs: Timing = { sentAt: 5, tokens: Array.from({ length: 20 }, (_, i) => [10 * (i + 1), i === 0 ? 1 : 2]), endedAt: 0, error: null };
    assertEquals(timesOf({ first: [pairs], together: [pairs], tokens: 30, promptTokens: 1 }).firstSteps, { p50: 5, p99: 5 });
  });

  it("takes a step apart by what was counted between two polls, of the rank that is slow by itself", () => {
    const rank = (name: string, steps: number, recordMs: number, peerMs: number): RankTotals => ({
      name,
      sums: steps * 6,
      parts: { ...newStepParts(), steps, recordMs: steps * recordMs, peerMs: steps * peerMs, submissions: steps * 7 },
    });
    const totals = (steps: number, first: readonly [number, number], second: readonly [number, number]): ServerTotals => ({
      steps: { ...newStepTimes(), steps, totalMs: steps * 9, workerMs: steps * 8, betweenMs: steps * 0.5, tellMs: steps * 2 },
      decode: [rank("a", steps, ...first), rank("b", steps, ...second)],
      prefill: [rank("p", steps, 3, 0)],
      cachedTokens: 0,
      work: 0,
    });
    // The first 100 steps were quite different.
    const [before, after] = [totals(100, [90, 90], [1, 1]), totals(200, [47, 48], [3.5, 1.5])];
    const share = shareOf(before, after)!;
    assertEquals([share.steps, share.rank, share.sums], [100, "b", 6]);
    assertEquals([share.parts.recordMs, share.parts.peerMs, share.parts.deviceMs, share.parts.submissions], [6, 2, null, 7]);
    assertEquals([share.stepMs, share.betweenMs, share.askingMs, share.workerMs, share.tellMs], [9.5, 0.5, 1, 8, 2]);
    assertEquals(shareOf(after, after), null);
    // 100 chunks of 25 prompts.
    const prompt = promptShareOf(before, after, 25)!;
    assertEquals([prompt.rank, prompt.chunks, prompt.parts.recordMs, prompt.parts.submissions], ["p", 4, 12, 28]);
  });

  it("knows what a step must read", async () => {
    const name = "synthetic:tiny";
    const options = parseOptions(["--shape", "tiny", "--topology", "ranks=1,ranks=2", "--device", "cpu"]);
    const [alone, two] = [await Floor.of(options, options.runs[0], "sharded"), await Floor.of(options, options.runs[1], "sharded")];
    const device = new MeasuringDevice();
    const { embedding, head } = await loadWeights(device, await Checkpoint.open(SyntheticFiles.named(name)), alone.spec, {
      weights: "keep",
      dry: true,
    });
    // In a batch so large that every expert is used: everything but the embedding, norms (64 floats each), biases and what stands for scales.
    const all = alone.bytes({ batch: 1e6, context: 0 }).weights - 1e6 * embedding.layout.rowBytes;
    const vectors = 7 * 64 * 4 + 2 * 8 * 4 + 16;
    assertAlmostEquals(all, device.counters.allocatedBytes - embedding.parts[0].weights.bytes - vectors, 1);
    assert(head !== embedding);
    const [one, eight] = [1, 8].map((batch) => alone.bytes({ batch, context: 100 }));
    assert(eight.weights > one.weights && eight.latents === 8 * one.latents);
    // Latents of 32 and rotated keys of 16 floats in 3 layers; half of them and a halo of 8 for each of two ranks.
    assertEquals([one.latents, two.bytes({ batch: 1, context: 100 }).latents], [100 * 3 * 48 * 4, 100 * 3 * 40 * 4]);
    assertEquals([distinctShare(1, 1), distinctShare(0.25, 2)], [1, 1 - 0.75 ** 2]);
    // Of what is chosen, latents; index keys of all.
    const sparse = parseOptions(["--shape", "v3.2", "--layers", "1", "--device", "cpu"]);
    const { latents } = (await Floor.of(sparse, sparse.runs[0], "sharded")).bytes({ batch: 2, context: 4096 });
    assertEquals(latents, 2 * (2048 * 576 + 4096 * 128) * 4);
    // Ranks that share tokens have one exchange more in each of three layers.
    const cuts = parseOptions(["--shape", "tiny", "--topology", "ranks=2", "--attention", "mla,dcp"]);
    const exchanges = cuts.runs.map((run) => (["replicated", "sharded"] as const).map((way) => Floor.exchanges(alone.spec, cuts, run, way)));
    assertEquals(exchanges, [[3, 6], [6, 9]]);
  });

  it("finds out that nothing happens any more, and says what everybody is at", async () => {
    let work = 0;
    const unit = {
      name: "decode-0",
      role: "decode",
      epoch: 3,
      up: true,
      sequences: 4,
      workers: [{ rank: 1, worker: null, pid: null, restarts: 2, stats: null }],
    };
    const server = {
      log: ["worker  decode-0.1 is gone"],
      totals: () => Promise.resolve({ work: work++ } as unknown as ServerTotals),
      status: () => Promise.resolve({ scheduling: { active: 4, waiting: 1, running: 3 }, steps: { steps: 9 }, units: [unit] } as never),
    };
    const bounds = { first: 20, next: 10, interval: 5 };
    using busy = new Watch(server, bounds);
    const outcome = Promise.race([busy.hung.catch((error) => error), new Promise((resolve) => setTimeout(resolve, 100))]);
    assertEquals(await outcome, undefined, "while something is computed, prompts may take their time");
    busy.allBegun();
    const error = await assertRejects(() => busy.hung, HangError, "no token for");
    for (const part of ["4 sequences, of which 1 wait", "decode-0: up, epoch 3", "rank 1: nobody is there", "is gone"]) {
      assertStringIncludes(error.message, part);
    }
  });

  it("measures a real server from its start to its end", async () => {
    const file = await Deno.makeTempFile({ suffix: ".json" });
    const args = ["whole", "--device", "cpu", "--shape", "tiny", "--topology", "ranks=2", "--cases", "1x70,2x70", "--tokens", "66", "--device-times"];
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...BENCH, ...args, "--json", file, "--card", "a processor"],
      cwd: ROOT,
      stdout: "piped",
      stderr: "piped",
    }).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assert(success, text(stdout) + text(stderr));
    const result: WholeResult & Source = JSON.parse(await Deno.readTextFile(file));
    await Deno.remove(file);
    assertEquals([result.card, result.command], ["a processor", `deno task bench ${args.join(" ")}`]);
    const [{ cases, exchange, readySeconds }] = result.runs;
    assert(readySeconds > 0 && ["shared-memory", "websocket"].includes(exchange!));
    for (const { error, batch, times, prompt, step, floor } of cases) {
      assertEquals(error, null);
      assert(times!.tokensPerSecond > 0 && times!.laterSteps !== null);
      // Two sums in each of three layers, and the answer.
      assertEquals([Math.round(step!.sums), Math.round(step!.parts.submissions), step!.rank.slice(0, 8)], [6, 7, "decode-0"]);
      assert(step!.steps > 10 && step!.parts.deviceMs! > 0 && step!.parts.recordMs > 0 && step!.tellMs > 0, JSON.stringify(step));
      // A chunk on the CPU has 64 tokens.
      assertEquals([prompt!.rank, prompt!.chunks], ["prefill-0.0", 2]);
      assert(prompt!.parts.recordMs > 0 && prompt!.parts.handoffMs > 0);
      assert(floor!.readMs > 0 && floor!.sumMs > 0 && floor!.totalMs > floor!.readMs && floor!.weightBytes > 100_000 * Math.min(batch, 2));
    }
    assertStringIncludes(text(stdout), "where a step goes");
    const figures = wholeFigures(result);
    // Two batches, but one context.
    assertEquals(Object.keys(figures), ["whole-batch"]);
    assertStringIncludes(figures["whole-batch"], "cpu, 2 ranks, tpla, context 70");
  });

  it("measures mixed workers, of which one does everything", async () => {
    const file = await Deno.makeTempFile({ suffix: ".json" });
    const args = ["whole", "--device", "cpu", "--shape", "tiny", "--topology", "single,mixed", "--cases", "2x70", "--tokens", "66"];
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...BENCH, ...args, "--json", file, "--card", "a processor"],
      cwd: ROOT,
      stdout: "null",
      stderr: "piped",
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    const { runs }: WholeResult = JSON.parse(await Deno.readTextFile(file));
    await Deno.remove(file);
    assertEquals(runs.map(({ ranks, mixed }) => [ranks, mixed]), [[null, true], [1, true]]);
    for (const { cases: [{ error, prompt, step, times }] } of runs) {
      assertEquals([error, prompt!.rank, step!.rank, Math.round(step!.sums)], [null, "mixed-0.0", "mixed-0.0", 0]);
      assert(times!.tokensPerSecond > 0 && prompt!.chunks >= 1 && prompt!.parts.handoffMs === 0);
    }
  });

  const leaves = "takes the server and its workers with it when somebody wants to leave";
  if (Deno.build.os !== "linux") it.skip(`${leaves}: skipped, processes are looked for as on Linux`);
  else {
    it(leaves, async () => {
      const args = ["whole", "--device", "cpu", "--shape", "tiny", "--topology", "ranks=2", "--cases", "1x64", "--tokens", "10000"];
      const bench = new Deno.Command(Deno.execPath(), { args: [...BENCH, ...args], cwd: ROOT, stdout: "null", stderr: "null" }).spawn();
      let started: number[] = [];
      await until(() => (started = descendants(bench.pid, /cluster\/main\.ts|workers\/process\/main\.ts|load_client\.ts/)).length === 5);
      bench.kill("SIGINT");
      assertEquals((await bench.status).code, 130);
      await until(() => started.every((pid) => commandOf(pid) === ""));
    });
  }
});

const BENCH = ["run", "-A", "--lock=tests/deno.lock", "bench/main.ts"];

function commandOf(pid: number): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`);
  } catch {
    return "";
  }
}

/** Processes that a process, or one that it started, has started, of those whose command matches. */
function descendants(pid: number, command: RegExp): number[] {
  const parents = new Map<number, number>();
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // pid (name) state parent …
      parents.set(Number(name), Number(Deno.readTextFileSync(`/proc/${name}/stat`).replace(/^.*\) . /s, "").split(" ")[0]));
    } catch {
      // It has ended meanwhile.
    }
  }
  const isBelow = (one: number): boolean => parents.has(one) && (parents.get(one) === pid || isBelow(parents.get(one)!));
  return [...parents.keys()].filter((one) => isBelow(one) && command.test(commandOf(one)));
}
