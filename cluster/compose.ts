/**
 * The workers' side of a coordinator: sockets, files, processes. The one place where cluster and workers meet, for `mod.ts` and the command line.
 *
 * @module
 */
import { writeBasis } from "../core/tpla/basis_file.ts";
import { freeMemory } from "../kernels/device/free_memory.ts";
import { openDevice } from "../kernels/device/providers.ts";
import { calibrate } from "../workers/study/calibrate.ts";
import { digestFiles } from "../workers/process/digest_files.ts";
import { LocalWorker } from "../workers/local/local_worker.ts";
import { openModelFiles } from "../workers/load/model_files.ts";
import { planMemory } from "../workers/load/plan_memory.ts";
import { DenoTransport, UNIX_HOST } from "../workers/links/transport.ts";
import { isRemote, remoteFiles } from "./hub/remote_files.ts";
import type { ClusterServices, OpenFiles } from "./planning/services.ts";
import { gpuCount } from "./processes/host_gpus.ts";
import { spawnWorker } from "./processes/spawn.ts";

/** Files of a model: from a directory, made up, or as far as they are needed from a hub. */
function openFiles(model: string): OpenFiles {
  return isRemote(model) ? remoteFiles(model).model() : openModelFiles(model);
}

/** What a coordinator is given. */
export const clusterServices: ClusterServices = {
  transport: (tls) => new DenoTransport(tls),
  openFiles,
  openLocal: (options) => LocalWorker.open(options),
  spawn: (options) => spawnWorker({ ...options, entry: new URL("../workers/process/main.ts", import.meta.url), unixHost: UNIX_HOST }),
  gpuCount,
  calibrate: async (options) => {
    const basis = await calibrate(options);
    return { ...basis, file: writeBasis(basis) };
  },
  digestFiles,
  planMemory: (options) => planMemory(options, openFiles),
  probeDevice: async (choice, dawn) => {
    const { device, reason, advice } = await openDevice(choice, { dawn });
    const { kind, description, limits } = device;
    await device.close();
    return { kind, description, reason, advice, limits };
  },
  freeMemory,
};
