/**
 * `deno task test`: runs all tests, then says which devices were tested, what was left out and, on a line of its own, how many passed and failed.
 *
 * @module
 */
import { absence, adapterName, DEVICES } from "./devices.ts";
import { RunSummary } from "./run_summary.ts";
import { GROUP_MODULE, groupModule, nameGroup, namesTests, testFiles, testGroups } from "./test_groups.ts";

/** What takes longest begins first, and by itself, so that no processor waits for the last of it at the end. */
const FIRST = [
  "tests/cluster/faults_test.ts",
  "tests/e2e/front_test.ts",
  "tests/cluster/fleet/join_test.ts",
  "tests/e2e/cli_test.ts",
  "tests/cluster/registry/kubernetes_registry_test.ts",
  "tests/cluster/cluster_test.ts",
  "tests/workers/local/local_group_test.ts",
  "tests/cluster/mixed_test.ts",
  "tests/e2e/signals_test.ts",
  "tests/cluster/slices_test.ts",
  "tests/cluster/token_shares_test.ts",
  "tests/kernels/device/wasm_test.ts",
  "tests/cluster/serving/mtp_test.ts",
  "tests/e2e/dashboard_test.ts",
  "tests/cluster/grammar/schema/schemas_test.ts",
  "tests/cluster/serving/serving_test.ts",
  "tests/cluster/registry/nats_registry_test.ts",
  "tests/e2e/front_page_test.ts",
  "tests/cluster/fleet/coordinator_test.ts",
  "tests/workers/forward/golden_test.ts",
  "tests/e2e",
  "tests/kernels",
];

/** Files that change globals before what is tested is loaded, or for good. */
const OWN_GLOBALS = ["tests/cluster/http/dashboard/history_test.ts", "tests/kernels/device/dawn_polling_test.ts"];

/** Files that run side by side: one more than there are processors, since many wait for a process that starts, or for a deadline. */
const JOBS = Deno.env.get("DENO_JOBS") ?? String(navigator.hardwareConcurrency + 1);

/** Longer than a test may take: what is silent for this long waits for ever, where no timer of its own can tell. Milliseconds. */
const SILENCE_LIMIT = 12 * 60_000;

/** Modules of groups lie here; in output they have the names of what they stand for. */
const folder = await Deno.makeTempDir({ prefix: "latentmesh-tests-" });

/** Writes the modules of all groups. @returns what `deno test` is given */
async function everything(): Promise<string[]> {
  const modules: string[] = [];
  for (const group of testGroups(await testFiles("tests"), [...FIRST, ...OWN_GLOBALS])) {
    if (group.files.length === 1) {
      modules.push(group.files[0]);
      continue;
    }
    await Deno.mkdir(`${folder}/${group.name}`, { recursive: true });
    const path = `${folder}/${group.name}/${GROUP_MODULE}`;
    await Deno.writeTextFile(path, groupModule(group));
    modules.push(path);
  }
  return [...modules, "mod.ts", "cluster/local_engine.ts"];
}

/** The rest of the flags come from the command line. */
const command = new Deno.Command(Deno.execPath(), {
  args: [
    "test",
    "-A",
    "--parallel",
    // Types are what `deno task check` checks, and `deno task ok` before it runs tests.
    "--no-check",
    // Packages that only tests and benches use have a lock file of their own: whoever serves downloads none of them.
    "--lock=tests/deno.lock",
    "--doc",
    ...Deno.args,
    ...(namesTests(Deno.args) ? [] : await everything()),
  ],
  stdout: "piped",
  env: { NO_COLOR: "1", DENO_JOBS: JOBS },
});

const child = command.spawn();
const summary = new RunSummary((line) => nameGroup(line, folder));
const decoder = new TextDecoder();
let [silent, heard] = [false, performance.now()];
const watchdog = setInterval(() => {
  if (performance.now() - heard < SILENCE_LIMIT || silent) return;
  silent = true;
  print(`\nNothing has ended for ${SILENCE_LIMIT / 60_000} minutes: the run is ended. Running: ${[...summary.slow].join(", ") || "unknown"}`);
  child.kill("SIGKILL");
  // A process that a test has started may hold the output open.
  setTimeout(() => Deno.exit(1), 5000);
}, 1000);
for await (const chunk of child.stdout) {
  const { lines } = summary;
  for (const line of summary.push(decoder.decode(chunk, { stream: true }))) print(line);
  if (summary.lines > lines) heard = performance.now();
}
// What ends without the end of a line, as where a run is cut off.
for (const line of summary.push("\n")) if (line !== "") print(line);
clearInterval(watchdog);
const { code } = await child.status;
await Deno.remove(folder, { recursive: true });

const { passed, failed, leftOut } = summary;
const devices = DEVICES.map((kind) => {
  const absent = absence(kind);
  return `${kind}: ${absent === null ? `tested${kind === "deno" ? ` (${adapterName})` : ""}` : `skipped, ${absent}`}`;
});
if (leftOut.length > 0) {
  print("\nLeft out, since there is no GPU driver (LATENTMESH_TEST=all runs it):");
  for (const name of leftOut.sort()) print(`  ${name}`);
}
print(`\nDevices  ${devices.join("; ")}`);
print(`${passed} passed, ${failed} failed`);
Deno.exit(code !== 0 ? code : passed === 0 ? 1 : 0);

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}
