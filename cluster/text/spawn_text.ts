/**
 * Starts text processes: without any permission, and with a memory of their own that can be used up.
 *
 * @module
 */
import { guardProcess } from "../processes/guardian.ts";
import { configArguments, importPermission, passedEnvironment } from "../processes/spawn.ts";

/** Megabytes of JavaScript objects that a request may take; the largest tokenizers take two hundred by themselves. */
const MOST_MEGABYTES = 1024;

/** How much workers come before them where processors are short. */
const NICE = ["nice", "-n", "5"];

/** Starts one. */
export function spawnText(): Deno.ChildProcess {
  const entry = new URL("./text_main.ts", import.meta.url);
  const options = [...configArguments(entry), ...importPermission(entry), `--v8-flags=--max-old-space-size=${MOST_MEGABYTES}`];
  const command = [Deno.execPath(), "run", "--quiet", "--no-prompt", ...options, entry.href];
  const child = start([...NICE, ...command]) ?? start(command)!;
  guardProcess(child);
  return child;
}

/** null where there is no such program. */
function start([program, ...args]: readonly string[]): Deno.ChildProcess | null {
  try {
    return new Deno.Command(program, {
      args,
      clearEnv: true,
      env: { ...passedEnvironment(), NO_COLOR: "1" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      // A terminal's signals are for the server, which lets what is being prepared end.
      detached: true,
    }).spawn();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
