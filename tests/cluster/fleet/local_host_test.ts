/**
 * One mixed unit in this process, and what becomes of requests when its worker fails.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { RunningCluster } from "../../../cluster/cluster.ts";
import { clusterServices } from "../../../cluster/compose.ts";
import type { ClusterServices, LocalWorker } from "../../../cluster/planning/services.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import type { Config } from "../../../mod.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { generate } from "../../support/generation.ts";

const ASK = { prompt: "And it came to pass in those days", maxTokens: 12, ignoreEos: true, logprobs: 1 };

/** Serves alone, with a worker that `change` makes of the real one. */
async function withLocal(
  test: (cluster: RunningCluster) => Promise<void>,
  change: (worker: LocalWorker) => Partial<LocalWorker> = () => ({}),
  config: Config = {},
): Promise<void> {
  const services: ClusterServices = {
    ...clusterServices,
    async openLocal(options) {
      const worker = await clusterServices.openLocal(options);
      const { lost, device, reason, freeBytes, loadTimes } = worker;
      return {
        ...{ lost, device, reason, freeBytes, loadTimes },
        answer: (request, payload) => worker.answer(request, payload),
        close: () => worker.close(),
        ...change(worker),
      };
    },
  };
  const settings = resolveSettings({}, { model: fixtureDirectory("tiny-mla"), device: "wasm", ...config }, () => undefined);
  const cluster = await RunningCluster.alone(settings, services);
  await test(cluster).finally(() => cluster.close());
}

describe("a process that serves alone", () => {
  it("is one mixed unit, whatever its settings say of others, and tells what it is at", () =>
    withLocal(
      async (cluster) => {
        await generate(cluster, ASK);
        const { units: [unit, ...others], scheduling, summary } = await cluster.describe();
        assertEquals([unit.name, unit.role, unit.up, unit.epoch, others], ["mixed-0", "mixed", true, 1, []]);
        const [{ pid, restarts, stats }] = unit.workers;
        assertEquals([pid, restarts, stats!.parts.prefill.steps, stats!.parts.decode.steps], [Deno.pid, 0, 1, 11]);
        assertEquals([stats!.sequences, stats!.freeBlocks, scheduling.active], [0, 128, 0]);
        assert(summary.includes("in this process"), summary);
        cluster.checkIntegrity();
      },
      undefined,
      { decode: { ranks: 4, groups: 2, halo: 3 }, prefill: { workers: 2, ranks: 2 } },
    ));

  it("advises whoever asks for more threads than there are processors", async () => {
    const advised = async (threads?: number) => {
      let advice: readonly string[] = [];
      await withLocal((cluster) => Promise.resolve(void (advice = cluster.advice)), undefined, { threads });
      return advice;
    };
    const cores = navigator.hardwareConcurrency;
    assertEquals(await advised(), []);
    const [advice, ...others] = await advised(cores + 1);
    assert(advice?.startsWith(`${cores + 1} threads take turns on ${cores} processor`), advice);
    assertEquals(others, []);
  });

  it("computes again what ran when a step or a prefill chunk fails, to the same bits", () => {
    const failing = new Map<string, number>();
    return withLocal(
      async (cluster) => {
        const expected = await generate(cluster, ASK);
        for (const [kind, after] of [["step", 5], ["prefill", 1], ["row", 1], ["close", 1]] as const) {
          failing.set(kind, after);
          // Drawn from more than the candidates: the whole row is asked for.
          const request = kind === "row" ? { ...ASK, temperature: 3, topP: 0.999, seed: 3 } : ASK;
          const answers = await Promise.all([generate(cluster, request), generate(cluster, { ...ASK, prompt: `${ASK.prompt} again` })]);
          if (kind !== "row") assertEquals(answers[0], expected, kind);
          else assertEquals(answers[0], await generate(cluster, request), kind);
          assertEquals(failing.get(kind), 0, `${kind} was asked for`);
          await generate(cluster, ASK);
          cluster.checkIntegrity();
        }
        const { units: [{ epoch }], incidents } = await cluster.describe();
        assertEquals([epoch, incidents.map(({ kind }) => kind)], [5, Array(4).fill(["restored", "failed"]).flat()]);
        assert(cluster.scheduling.replays > 0);
      },
      (worker) => ({
        answer(request, payload) {
          const left = failing.get(request.kind) ?? 0;
          failing.set(request.kind, Math.max(0, left - 1));
          return left === 1 ? Promise.reject(new Error("a bug")) : worker.answer(request, payload);
        },
      }),
    );
  });

  it("ends what runs when its device is gone, and refuses what comes at once", () => {
    const { promise: lost, resolve: lose } = Promise.withResolvers<LatentmeshError>();
    const gone = new LatentmeshError("device_lost", "the card fell out");
    return withLocal(async (cluster) => {
      const running = (async () => {
        for await (const { tokens } of cluster.generate({ ...ASK, maxTokens: 200 })) if (tokens.length > 0) lose(gone);
      })();
      assertEquals((await assertRejects(() => running, LatentmeshError)).code, "device_lost");
      assertEquals((await assertRejects(() => generate(cluster, ASK), LatentmeshError, "fell out")).code, "device_lost");
      assertEquals((await assertRejects(() => cluster.failed, LatentmeshError)).code, "device_lost");
      assert(!cluster.served.engine.ready);
    }, () => ({ lost }));
  });

  it("says why it cannot load", async () => {
    await assertRejects(() => withLocal(() => Promise.resolve(), undefined, { model: "/nowhere" }), LatentmeshError, "no config.json");
    const refuse = (request: { readonly kind: string }) => Promise.reject(new LatentmeshError("out_of_memory", `too much to ${request.kind}`));
    const error = await assertRejects(
      () =>
        withLocal(() => Promise.resolve(), (worker) => ({
          answer: (request, payload) => request.kind === "assign" ? refuse(request) : worker.answer(request, payload),
        })),
      LatentmeshError,
      "too much to assign",
    );
    assertEquals(error.code, "out_of_memory");
  });
});
