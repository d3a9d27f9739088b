/**
 * `serve` as users start it, but with workers that fail when they are told to, and a time of day that jumps at SIGUSR2.
 *
 * @module
 */
import { RunningCluster } from "../../cluster/cluster.ts";
import { serve } from "../../cluster/commands/serve.ts";
import { clusterServices } from "../../cluster/compose.ts";
import { checkConfig } from "../../cluster/config/config.ts";
import { configureLogs } from "../../cluster/logs/log.ts";
import { resolveSettings } from "../../cluster/config/settings.ts";
import { spawnWorker } from "../../cluster/processes/spawn.ts";
import { UNIX_HOST } from "../../workers/links/transport.ts";

/** Milliseconds by which the time of day jumps at most. */
const FURTHEST_JUMP = 3_600_000;

if (import.meta.main) {
  const now = Date.now;
  let ahead = 0;
  Date.now = () => now() + ahead;
  Deno.addSignalListener("SIGUSR2", () => ahead = (2 * Math.random() - 1) * FURTHEST_JUMP);
  configureLogs();
  const settings = resolveSettings({}, checkConfig(JSON.parse(Deno.args[0]), "the configuration"), () => undefined);
  const entry = new URL("../failing_worker.ts", import.meta.url);
  const services = {
    ...clusterServices,
    spawn: (options: Parameters<typeof clusterServices.spawn>[0]) => spawnWorker({ ...options, entry, unixHost: UNIX_HOST }),
  };
  await serve(settings, (settings, onProgress) => RunningCluster.launch(settings, services, onProgress));
}
