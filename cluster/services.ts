/**
 * What the coordinator needs of the workers' side. `main.ts` and `mod.ts` hand it in: cluster and workers never import each other.
 *
 * @module
 */
import type { ModelFiles } from "../core/model/checkpoint.ts";
import type { ByteSource } from "../core/model/safetensors.ts";
import type { Transport } from "../core/wire/transport.ts";
import type { Calibrate } from "./engine.ts";
import type { Settings } from "./settings.ts";
import type { SpawnOptions } from "./spawn.ts";
import type { WorkerProcess } from "./supervisor.ts";

/** Files of a model directory. */
export type OpenFiles = ModelFiles & Disposable & { openPath(path: string): Promise<ByteSource | null> };

/** What a coordinator is given. */
export interface ClusterServices {
  transport(tls: Settings["cluster"]["tls"]): Transport;
  openFiles(directory: string): OpenFiles;
  spawn(options: Omit<SpawnOptions, "entry" | "unixHost">): WorkerProcess;
  readonly calibrate: Calibrate;
}
