/**
 * `deno task test`: runs all tests, then says which devices were tested and, on a line of its own, how many passed and failed.
 *
 * @module
 */
import { absence, adapterName } from "./devices.ts";

/** Test files run side by side; the rest of the flags come from the command line. */
const command = new Deno.Command(Deno.execPath(), {
  args: [
    "test",
    "-A",
    "--parallel",
    // Packages that only tests and benches use have a lock file of their own: whoever serves downloads none of them.
    "--lock=tests/deno.lock",
    "--doc",
    ...Deno.args,
    ...(Deno.args.some((arg) => !arg.startsWith("-")) ? [] : ["tests", "mod.ts", "cluster/local_engine.ts"]),
  ],
  stdout: "piped",
  env: { NO_COLOR: "1" },
});

const child = command.spawn();
let tail = "";
for await (const chunk of child.stdout) {
  await Deno.stdout.write(chunk);
  tail = (tail + new TextDecoder().decode(chunk)).slice(-2000);
}
const { code } = await child.status;

const counted = /(\d+) passed(?: \((\d+) steps?\))? \| (\d+) failed(?: \((\d+) steps?\))?/.exec(tail);
const [passed, failed] = counted === null ? [0, 1] : [Number(counted[1]) + Number(counted[2] ?? 0), Number(counted[3]) + Number(counted[4] ?? 0)];
const devices = (["cpu", "wasm", "deno", "dawn"] as const).map((kind) => {
  const absent = absence(kind);
  return `${kind}: ${absent === null ? `tested${kind === "deno" ? ` (${adapterName})` : ""}` : `skipped, ${absent}`}`;
});
print(`\nDevices  ${devices.join("; ")}`);
print(`${passed} passed, ${failed} failed`);
Deno.exit(code !== 0 ? code : passed === 0 ? 1 : 0);

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}
