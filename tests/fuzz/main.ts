/**
 * `deno task fuzz`: every fuzzer in a process of its own, for so many minutes or inputs. An input is made from its number alone, so that a finding is repeated with
 * `--target NAME --from NUMBER --inputs 1`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { Random } from "../../bench/support/random.ts";
import { TARGETS } from "./targets.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    minutes: { type: "string" },
    inputs: { type: "string" },
    target: { type: "string" },
    from: { type: "string", default: "0" },
    child: { type: "boolean", default: false },
  },
});

/** Milliseconds that one input may take; the process is ended then. */
const MOST_MS = 20_000;
/** Inputs between two signs of life. */
const REPORT = 1000;

/** What a fuzzer came to. */
interface Outcome {
  readonly inputs: number;
  readonly seconds: number;
  /** Megabytes, after the first tenth and at the end. */
  readonly memory: readonly [early: number, late: number];
}

const limit = {
  ms: values.minutes === undefined ? (values.inputs === undefined ? 60_000 : Infinity) : Number(values.minutes) * 60_000,
  inputs: values.inputs === undefined ? Infinity : Number(values.inputs),
};

if (values.child) await fuzz(values.target!);
else {
  const names = values.target === undefined ? TARGETS.map(({ name }) => name) : [values.target];
  let found = false;
  for (const name of names) {
    const outcome = await supervise(name, limit.ms / names.length);
    found ||= typeof outcome === "string";
    const text = typeof outcome === "string"
      ? `FOUND: ${outcome}`
      : `${outcome.inputs} inputs in ${outcome.seconds.toFixed(0)} s, memory ${outcome.memory.map((mb) => mb.toFixed(0)).join(" → ")} MB`;
    console.log(`${name.padEnd(12)} ${text}`);
  }
  Deno.exit(found ? 1 : 0);
}

/** Runs a fuzzer in a process that is ended when an input takes too long. @returns a finding in words, or what it came to */
async function supervise(name: string, ms: number): Promise<string | Outcome> {
  const args = ["run", "-A", "--quiet", "--lock=tests/deno.lock", import.meta.filename!, "--child", "--target", name, "--from", values.from];
  const bounds = [
    ...(ms === Infinity ? [] : ["--minutes", String(ms / 60_000)]),
    ...(limit.inputs === Infinity ? [] : ["--inputs", String(limit.inputs)]),
  ];
  const child = new Deno.Command(Deno.execPath(), { args: [...args, ...bounds], stdout: "piped", stderr: "piped" }).spawn();
  let last = "";
  let hung = false;
  let timer = setTimeout(() => {}, 0);
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      hung = true;
      child.kill("SIGKILL");
    }, MOST_MS * 3);
  };
  wait();
  const [status, errors] = await Promise.all([
    child.status,
    new Response(child.stderr).text(),
    (async () => {
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
        last = text.trim().split("\n").at(-1)!;
        wait();
      }
    })(),
  ]);
  clearTimeout(timer);
  if (hung) return `an input took too long, soon after ${last}`;
  return status.success ? JSON.parse(last) : errors.trim() || `it ended with ${status.code}, soon after ${last}`;
}

/** Runs a fuzzer here. */
async function fuzz(name: string): Promise<void> {
  const target = TARGETS.find((target) => target.name === name);
  if (target === undefined) throw new Error(`There is no fuzzer "${name}"; there are ${TARGETS.map(({ name }) => name).join(", ")}`);
  const started = performance.now();
  const from = Number(values.from);
  let early = 0;
  let input = from;
  for (; input < from + limit.inputs && performance.now() - started < limit.ms; input++) {
    const begun = performance.now();
    try {
      await target.run(new Random(input));
    } catch (error) {
      console.error(`input ${input}: ${error instanceof Error ? error.stack : error}`);
      Deno.exit(1);
    }
    if (performance.now() - begun > MOST_MS) {
      console.error(`input ${input} took ${((performance.now() - begun) / 1000).toFixed(1)} s`);
      Deno.exit(1);
    }
    if (input % REPORT !== 0) continue;
    console.log(String(input));
    // Promises that settle at once never let anything else happen.
    await new Promise((resolve) => setTimeout(resolve));
    const done = Math.max((input - from) / limit.inputs, (performance.now() - started) / limit.ms);
    if (done <= 0.1) early = megabytes();
  }
  console.log(
    JSON.stringify({ inputs: input - from, seconds: (performance.now() - started) / 1000, memory: [early, megabytes()] } satisfies Outcome),
  );
}

function megabytes(): number {
  return Deno.memoryUsage().rss / 2 ** 20;
}
