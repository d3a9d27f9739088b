/**
 * `deno task ok`: the one gate. The first check to fail ends it; tests come last, so that their count is the last line.
 *
 * @module
 */
import { checkLayers } from "./layers.ts";
import { checkLock, checkPackage } from "./package.ts";
import { ROOT } from "../../bench/support/root.ts";

const deno = Deno.execPath();
/** Packages that only tests and benches use have a lock file of their own: whoever serves downloads none of them. */
const LOCK = "--lock=tests/deno.lock";
const steps: [name: string, run: () => Promise<void>][] = [
  ["format", () => run("fmt", "--check")],
  ["lint", () => run("lint")],
  ["types", () => run("check", "--doc", LOCK, ".")],
  ["layers", checkLayers],
  ["documentation", () => run("doc", "--lint", "mod.ts")],
  ["package", checkPackage],
  ["lock file", async () => {
    await run("install", "--frozen");
    await checkLock();
  }],
  ["tests", () => run("task", "test")],
];

for (const [name, check] of steps) {
  const started = performance.now();
  try {
    await check();
  } catch (error) {
    console.error(`\n${name}: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
  if (name !== "tests") console.error(`ok  ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}

async function run(...args: string[]): Promise<void> {
  const quiet = args[0] !== "task";
  const output = await new Deno.Command(deno, { args, cwd: ROOT, stdout: quiet ? "piped" : "inherit", stderr: quiet ? "piped" : "inherit" }).output();
  if (output.success) return;
  const text = quiet ? new TextDecoder().decode(output.stdout) + new TextDecoder().decode(output.stderr) : "";
  throw new Error(`deno ${args.join(" ")} failed\n${text}`);
}
