/**
 * `worker`: this machine's GPUs join a cluster.
 *
 * @module
 */
import { hostname } from "node:os";
import { LatentmeshError } from "../../core/errors.ts";
import { readEnv } from "../../core/env.ts";
import { type JoinedWorkers, type JoinSettings, startJoining } from "../fleet/join.ts";
import { fetchModel } from "../config/fetch_model.ts";
import { type ModelFlags, settingsOf } from "../config/flags.ts";
import { log } from "../logs/log.ts";
import type { ClusterServices } from "../planning/services.ts";
import { isLoopback } from "../config/settings.ts";
import { aborted, endOnSignals, stopOnSignals } from "./stop.ts";

/** Flags of the command. */
export interface WorkerFlags extends Pick<ModelFlags, "model" | "device"> {
  readonly join: string;
  readonly advertise: string;
  readonly name?: string;
  readonly gpus?: readonly number[];
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly insecure?: boolean;
}

/** Joins until asked to stop. */
export async function joinUntilStopped(flags: WorkerFlags, services: ClusterServices): Promise<void> {
  const settings = await joinSettings(flags);
  const stop = { drain: new AbortController(), cancel: new AbortController() };
  using _ = stopOnSignals(stop);
  const joined: JoinedWorkers = await startJoining(settings, services, isLoopback);
  log(
    "info",
    `joining ${settings.coordinator} as host ${settings.host} with ${settings.gpus.length} ${settings.gpus.length === 1 ? "worker" : "workers"}`,
  );
  try {
    await Promise.race([aborted(stop.drain.signal), joined.failed]);
  } finally {
    await joined.close();
  }
}

async function joinSettings({ join, advertise, name, gpus, tlsCert, tlsKey, tlsCa, insecure, ...flags }: WorkerFlags): Promise<JoinSettings> {
  const { device, dawn, tuning, ...settings } = await settingsOf(flags);
  const token = readEnv("LATENTMESH_TOKEN", (name) => Deno.env.get(name));
  if (token === undefined) {
    throw new LatentmeshError("invalid_config", "Cannot join without the cluster's token; set LATENTMESH_TOKEN to what the coordinator has", {
      param: "token",
    });
  }
  // A model may be fetched for hours, which is given up at once.
  using _ = endOnSignals();
  const { model } = await fetchModel(settings.model);
  return {
    coordinator: join,
    token,
    host: name ?? hostname(),
    advertise,
    model,
    device,
    dawn,
    tuning,
    gpus: gpus ?? [null],
    tls: { cert: tlsCert, key: tlsKey, ca: tlsCa },
    insecure: insecure ?? false,
  };
}
