/**
 * Starts text processes: without any permission, and with a memory of their own that can be used up.
 *
 * @module
 */
import { guardProcess } from "../guardian.ts";
import { configArguments, passedEnvironment } from "../spawn.ts";

/** Megabytes of JavaScript objects that a request may take; the largest tokenizers take two hundred by themselves. */
const MOST_MEGABYTES = 1024;

/** Starts one. */
export function spawnText(): Deno.ChildProcess {
  const entry = new URL("./text_main.ts", import.meta.url);
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      ...configArguments(entry, "../../deno.json"),
      `--v8-flags=--max-old-space-size=${MOST_MEGABYTES}`,
      entry.href,
    ],
    clearEnv: true,
    env: { ...passedEnvironment(), NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  guardProcess(child);
  return child;
}
