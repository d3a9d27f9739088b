/**
 * Entry of the command line.
 *
 * @module
 */
import manifest from "../deno.json" with { type: "json" };
import { LatentmeshError, messageOf } from "../core/errors.ts";
import { measureDrift } from "../workers/study/drift.ts";
import { createProgram } from "./commands/cli.ts";
import { RunningCluster } from "./cluster.ts";
import { clusterServices } from "./compose.ts";
import { configureLogs, log } from "./logs/log.ts";

if (import.meta.main) {
  try {
    configureLogs();
  } catch (error) {
    console.error(`error: ${messageOf(error)}`);
    Deno.exit(1);
  }
  try {
    const program = createProgram(manifest.version, {
      ...clusterServices,
      loadEngine: (settings, onProgress) => RunningCluster.alone(settings, clusterServices, onProgress),
      startCluster: (settings, onProgress) => RunningCluster.launch(settings, clusterServices, onProgress),
      measureDrift,
    });
    await program.parseAsync(Deno.args, { from: "user" });
  } catch (error) {
    // What users can act on is one line; anything else is a bug and keeps its stack.
    if (error instanceof LatentmeshError && error.code !== "internal") log("error", `error: ${error.message}`);
    else log("error", error instanceof Error ? error.stack ?? error.message : String(error));
    Deno.exit(1);
  }
}
