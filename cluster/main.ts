/**
 * Entry of the command line. Besides `mod.ts` this is the one place where cluster and workers meet.
 *
 * @module
 */
import manifest from "../deno.json" with { type: "json" };
import { LatentmeshError } from "../core/errors.ts";
import { writeBasis } from "../core/tpla/basis_file.ts";
import { calibrate } from "../workers/calibrate.ts";
import { measureDrift } from "../workers/drift.ts";
import { Engine } from "../workers/engine.ts";
import { createProgram } from "./cli.ts";
import { log } from "./log.ts";

if (import.meta.main) {
  try {
    const program = createProgram(manifest.version, {
      loadEngine: (settings) => Engine.load(settings),
      calibrate: async (options) => {
        const basis = await calibrate(options);
        return { ...basis, file: writeBasis(basis) };
      },
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
