/**
 * Clusters under test: real processes on the CPU.
 *
 * @module
 */
import type { RunningCluster } from "../../cluster/cluster.ts";
import { Cluster, type Config } from "../../mod.ts";
import { fixtureDirectory } from "./fixtures.ts";

/** Starts a cluster of tiny-mla on the CPU, or what `config` says, and stops it after the test. */
export async function withCluster(config: Config, test: (cluster: RunningCluster) => Promise<void>): Promise<void> {
  const cluster = await Cluster.start({ model: fixtureDirectory("tiny-mla"), device: "wasm", ...config });
  try {
    await test(cluster);
  } finally {
    await cluster.close();
  }
}

export { until } from "../../bench/support/until.ts";
