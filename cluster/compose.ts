/**
 * The workers' side of a coordinator: sockets, files, processes. The one place where cluster and workers meet, for `mod.ts` and the command line.
 *
 * @module
 */
import { writeBasis } from "../core/tpla/basis_file.ts";
import { calibrate } from "../workers/calibrate.ts";
import { DirectoryFiles } from "../workers/model_files.ts";
import { DenoTransport, UNIX_HOST } from "../workers/transport.ts";
import type { ClusterServices } from "./services.ts";
import { spawnWorker } from "./spawn.ts";

/** What a coordinator is given. */
export const clusterServices: ClusterServices = {
  transport: (tls) => new DenoTransport(tls),
  openFiles: (directory) => new DirectoryFiles(directory),
  spawn: (options) => spawnWorker({ ...options, entry: new URL("../workers/main.ts", import.meta.url), unixHost: UNIX_HOST }),
  calibrate: async (options) => {
    const basis = await calibrate(options);
    return { ...basis, file: writeBasis(basis) };
  },
};
