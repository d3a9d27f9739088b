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

/** Waits until `condition` holds. @throws {Error} naming it if that takes longer than it can */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const began = performance.now();
  while (!(await condition())) {
    if (performance.now() - began > LONGEST_WAIT) throw new Error(`It did not come about within ${LONGEST_WAIT / 1000} s: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Milliseconds after which what is waited for will not come: no test waits that long, on any machine. */
const LONGEST_WAIT = 180_000;
