/**
 * What endpoint pickers read: by default these names, of each the one sample that there is, and from labels whole numbers (kubernetes-sigs/gateway-api-inference-extension,
 * pkg/epp/datalayer/metrics).
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { type ClusterStatus, noCluster, type UnitStatus } from "../../../cluster/observe/cluster_status.ts";
import { ServerMetrics } from "../../../cluster/observe/metrics.ts";
import type { UnitRole } from "../../../core/wire/protocol.ts";
import { withWorkersHere } from "../../support/cluster.ts";
import { readExposition } from "../../support/exposition.ts";
import { tokenRequest } from "../../support/token_requests.ts";
import { until } from "../../../bench/support/until.ts";

/** What a picker knows of a server. */
interface Picked {
  readonly waiting: number;
  readonly running: number;
  readonly usage: number;
  readonly blockSize: number;
  readonly blocks: number;
}

/** As a picker reads it. @throws where that would say that a metric is missing */
async function pick(cluster: () => Promise<ClusterStatus | null>, model?: string): Promise<Picked> {
  const loading = () => ({ ready: true, loadedBytes: 0, totalBytes: 0 });
  const metrics = new ServerMetrics({ loading, uncaught: () => 0, cluster, model: () => model ?? null });
  const families = readExposition((await metrics.expose()).text);
  const only = (name: string) => {
    const { kind, samples } = families.get(name)!;
    assertEquals([kind, samples.length], ["gauge", 1], name);
    assertEquals(samples[0].labels.model_name, model);
    return samples[0];
  };
  const { labels, value } = only("vllm:cache_config_info");
  assertEquals(value, 1);
  for (const text of [labels.block_size, labels.num_gpu_blocks]) assert(/^\d+$/.test(text), text);
  return {
    waiting: only("vllm:num_requests_waiting").value,
    running: only("vllm:num_requests_running").value,
    usage: only("vllm:kv_cache_usage_perc").value,
    blockSize: Number(labels.block_size),
    blocks: Number(labels.num_gpu_blocks),
  };
}

const unit = (role: UnitRole, blocks: number, available: number, up = true): UnitStatus => ({
  name: `${role}-${blocks}`,
  role,
  epoch: 1,
  up,
  exchange: null,
  sequences: 0,
  cache: { blocks, available, published: 0 },
  promptCache: null,
  workers: [],
});

const withUnits = (...units: UnitStatus[]) => () => Promise.resolve({ ...noCluster(""), units });

describe("what endpoint pickers read", () => {
  it("is of the units that decode and are up: how much of all their blocks is in use", async () => {
    const usage = async (...units: UnitStatus[]) => {
      const { usage, blocks } = await pick(withUnits(...units), "a model");
      return [usage, blocks];
    };
    assertEquals(await usage(unit("decode", 100, 25)), [0.75, 100]);
    assertEquals(await usage(unit("decode", 100, 25), unit("prefill", 900, 0)), [0.75, 100]);
    assertEquals(await usage(unit("mixed", 100, 100), unit("mixed", 300, 100)), [0.5, 400]);
    assertEquals(await usage(unit("decode", 100, 25), unit("decode", 300, 300, false)), [0.75, 100]);
    assertEquals(await usage(unit("decode", 100, 100, false)), [1, 0], "there is no room in what is down");
    assertEquals(await usage(), [0, 0], "models are loaded when they are asked for");
  });

  it("multiplies to all tokens that are cached, where ranks share them", () =>
    withWorkersHere({ cache: { maxTokens: 1024 }, decode: { attention: "dcp", ranks: 2 } }, async (cluster) => {
      const { blocks, blockSize } = await pick(() => cluster.describe(), "tiny-mla");
      assertEquals([blocks, blockSize], [8, 128]);
    }));

  it("counts every request once, as waiting or as running, whichever part of it is computed", async () => {
    const scheduling = { ...noCluster("").scheduling, active: 7, waiting: 3, running: 2 };
    const { waiting, running } = await pick(() => Promise.resolve({ ...noCluster(""), scheduling }));
    assertEquals([waiting, running], [3, 4]);
  });

  it("is not told while a model is loaded, since nothing is known", async () => {
    const loading = () => ({ ready: false, loadedBytes: 0, totalBytes: 0 });
    const metrics = new ServerMetrics({ loading, uncaught: () => 0, cluster: () => Promise.resolve(null) });
    assert(!(await metrics.expose()).text.includes("vllm:"));
  });

  it("is what a cluster is at", () =>
    withWorkersHere({ cache: { maxTokens: 512 } }, async (cluster) => {
      const now = () => pick(() => cluster.describe(), "tiny-mla");
      const idle = await now();
      assertEquals([idle.waiting, idle.running, idle.usage, idle.blockSize], [0, 0, 0, 64]);
      // It may have some more, since the longest context must fit.
      assert(idle.blocks >= 512 / 64, JSON.stringify(idle));
      const abort = new AbortController();
      const prompt = Array.from({ length: 200 }, (_, i) => 5 + (i % 50));
      const requests = Array.from({ length: 2 * idle.blocks }, (_, i) => {
        const request = tokenRequest([i + 5, ...prompt], { maxTokens: 300, signal: abort.signal });
        return cluster.served.engine.generate(request, () => {}).catch(() => {});
      });
      let busy = idle;
      await until(async () => {
        busy = await now();
        return busy.waiting > 0 && busy.running > 0 && busy.usage > 0.5;
      });
      assert(busy.usage <= 1 && busy.waiting + busy.running <= requests.length, JSON.stringify(busy));
      abort.abort();
      await Promise.all(requests);
      await until(async () => (await now()).usage === 0);
    }));
});
