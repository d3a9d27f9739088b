/**
 * Clusters under test, on the CPU: workers in processes of their own, or in this one.
 *
 * @module
 */
import { RunningCluster } from "../../cluster/cluster.ts";
import { clusterServices } from "../../cluster/compose.ts";
import { resolveSettings } from "../../cluster/config/settings.ts";
import type { ClusterServices } from "../../cluster/planning/services.ts";
import { messageOf } from "../../core/errors.ts";
import { Cluster, type Config } from "../../mod.ts";
import { ClusterWorker, type JoinOptions } from "../../workers/process/cluster_worker.ts";
import { leavingExitCode } from "../../workers/process/exit_code.ts";
import { type Fixture, fixtureDirectory } from "./checkpoints.ts";
import { MemoryTransport } from "./memory_transport.ts";

const SMALL: Fixture = "glm4-moe-lite-tiny";

const GIVEN: Config = { model: fixtureDirectory("tiny-mla"), device: "wasm" };

/** A configuration of a checkpoint that no basis was made for. */
export const ofFixture = (name: Fixture, change: Config = {}): Config => ({
  ...change,
  model: fixtureDirectory(name),
  decode: { basis: "hadamard", ...change.decode },
});

/** A small model, for what is about processes and not about what they compute: they start and answer in half the time. */
export function ofSmall(change: Config = {}): Config {
  const whole = change.mixed !== undefined || (change.decode?.attention ?? "tpla") !== "tpla";
  return whole ? { ...change, model: fixtureDirectory(SMALL) } : ofFixture(SMALL, change);
}

/** Starts a cluster of tiny-mla on the CPU, or what `config` says, and stops it after the test. */
export async function withCluster(config: Config, test: (cluster: RunningCluster) => Promise<void>): Promise<void> {
  await closeAfter(await Cluster.start({ ...GIVEN, ...config }), test);
}

/**
 * The same with its workers in this process: they join, load, exchange and hand over as others do, over sockets in memory. For what is compared with, and for what
 * is about a model and not about processes; to start one of those takes longer than most tests. Nothing of it can be killed, and ranks share no memory.
 */
export async function withWorkersHere(config: Config, test: (cluster: RunningCluster) => Promise<void>): Promise<void> {
  const settings = resolveSettings({}, { ...GIVEN, ...config }, () => undefined);
  // Whoever waits for memory keeps the thread, which is everybody's here.
  const decode = { ...settings.decode, exchange: "websocket" as const };
  await closeAfter(await RunningCluster.launch({ ...settings, decode }, servicesHere()), test);
}

async function closeAfter(cluster: RunningCluster, test: (cluster: RunningCluster) => Promise<void>): Promise<void> {
  try {
    await test(cluster);
  } finally {
    await cluster.close();
  }
}

function servicesHere(): ClusterServices {
  const transport = new MemoryTransport();
  return {
    ...clusterServices,
    transport: () => transport,
    spawn: ({ bootstrap }) => {
      const { token, ...options } = bootstrap as unknown as Omit<JoinOptions, "token"> & { readonly token: string };
      const joined = ClusterWorker.join({ ...options, token: Uint8Array.fromHex(token) }, transport);
      const ended = joined.then(async (worker) => {
        const reason = await worker.closed;
        await worker.close();
        return { code: leavingExitCode(reason.code), lastLines: reason.message };
      }).catch((error) => ({ code: 1, lastLines: messageOf(error) }));
      return { ended, kill: () => void joined.then((worker) => worker.close()) };
    },
  };
}
