/**
 * Entry of the command line.
 *
 * @module
 */
import manifest from "../deno.json" with { type: "json" };
import { LatentmeshError, messageOf } from "../core/errors.ts";
import { REFUSED_EXIT_CODE } from "../core/wire/protocol.ts";
import { createProgram, type Services } from "./commands/cli.ts";
import { configureLogs, logEnd } from "./logs/log.ts";

if (import.meta.main) {
  nameRuntimeDirectory();
  try {
    configureLogs();
  } catch (error) {
    console.error(`error: ${messageOf(error)}`);
    Deno.exit(1);
  }
  try {
    const program = createProgram(manifest.version, loadServices);
    await program.parseAsync(Deno.args, { from: "user" });
  } catch (error) {
    // What users can act on is one line; anything else is a bug and keeps its stack.
    if (error instanceof LatentmeshError && error.code !== "internal") logEnd(error.message);
    else logEnd(error instanceof Error ? error.stack ?? error.message : String(error));
    // A worker that was refused would be refused again.
    Deno.exit(error instanceof LatentmeshError && error.code === "unauthorized" ? REFUSED_EXIT_CODE : 1);
  }
}

/** What computes, or starts others that do. */
export async function loadServices(): Promise<Services> {
  const [{ measureDrift }, { RunningCluster }, { clusterServices }] = await Promise.all([
    import("../workers/study/drift.ts"),
    import("./cluster.ts"),
    import("./compose.ts"),
  ]);
  return {
    ...clusterServices,
    loadEngine: (settings, onProgress) => RunningCluster.alone(settings, clusterServices, onProgress),
    startCluster: (settings, onProgress) => RunningCluster.launch(settings, clusterServices, onProgress),
    measureDrift,
  };
}

/**
 * Where a session has no folder, as in containers, Mesa says so on standard error each time a GPU is looked for, though it needs none. To be called before drivers
 * run, whose threads read the environment.
 */
function nameRuntimeDirectory(): void {
  const granted = Deno.permissions.querySync({ name: "env", variable: "XDG_RUNTIME_DIR" }).state === "granted";
  if (Deno.build.os === "linux" && granted && Deno.env.get("XDG_RUNTIME_DIR") === undefined) Deno.env.set("XDG_RUNTIME_DIR", "/tmp");
}
