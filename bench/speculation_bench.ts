/**
 * What guessed tokens bring: streams of the real server with them and without, of text that repeats and of text that does not, over HTTP.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { parseModelConfig } from "../core/model/config.ts";
import { isSynthetic } from "../core/model/synthetic/name.ts";
import { readConfigText } from "../core/model/config_text.ts";
import { embeddedDirectory } from "../cluster/config/embedded_model.ts";
import type { Speculation } from "../core/speculation/speculation.ts";
import { openModelFiles } from "../workers/load/model_files.ts";
import type { Config } from "../mod.ts";
import { type LoadRequest, runLoad, type Timing } from "./serve/load_client.ts";
import { Random } from "./support/random.ts";
import { median, printTable } from "./table.ts";
import { BenchServer } from "./whole/server.ts";

/** Tokens of a stream before its speed is taken: what steps take must become known. */
const SETTLED = 32;

/** How tokens are guessed. */
type Guessing = Exclude<Speculation, "off">;

/** A text, and how it goes on. */
interface Text {
  readonly name: string;
  readonly prompt: string | readonly number[];
  readonly temperature: number;
  /** Whether it is said beforehand how it goes on, but for a token in sixteen: as of a file that is edited. */
  readonly edited?: boolean;
}

/** Tokens between two that are edited. */
const EDITED = 16;

const VERSE =
  "And it came to pass in those days, that there went out a decree from Caesar Augustus, that all the world should be taxed. And all went to be taxed, every one into his own city. And Joseph also went up from Galilee, out of the city of Nazareth, into Judaea, unto the city of David, which is called Bethlehem;";

const CODE = Array.from({ length: 6 }, (_, i) => `export function item${i}(list: number[]): number {\n  return list[${i}] ?? 0;\n}\n`).join("\n");

const JSON_LIST = JSON.stringify(Array.from({ length: 9 }, (_, i) => ({ id: i, name: "kettle", price: 10, parts: ["lid", "spout"] })));

/** Of a model that writes: it quotes, edits and lists. Random weights go on with what they have begun once the best token is taken. */
function textsOf(model: string, vocabSize: number): Text[] {
  if (isSynthetic(model)) {
    const random = new Random(1);
    const prompt = Array.from({ length: 1024 }, () => 256 + random.below(Math.floor(vocabSize * 0.9) - 256));
    return [{ name: "best tokens, which soon repeat", prompt, temperature: 0 }, { name: "drawn tokens", prompt, temperature: 1 }, {
      name: "drawn tokens, an edited text",
      prompt,
      temperature: 1,
      edited: true,
    }];
  }
  return [
    { name: "a quotation", prompt: `${VERSE}\n\n${VERSE}\n\n${VERSE.slice(0, 60)}`, temperature: 0 },
    { name: "code", prompt: CODE.slice(0, -20), temperature: 0 },
    { name: "JSON", prompt: JSON_LIST.slice(0, -30), temperature: 0 },
    { name: "drawn tokens", prompt: "The kettle is", temperature: 1 },
    { name: "drawn tokens, an edited text", prompt: "The kettle is", temperature: 1, edited: true },
  ];
}

/** Runs the bench. */
export async function speculationBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "auto" },
      model: { type: "string", default: embeddedDirectory() },
      weights: { type: "string", default: "keep" },
      topology: { type: "string", default: "single" },
      attention: { type: "string" },
      gpus: { type: "string" },
      streams: { type: "string", default: "1" },
      tokens: { type: "string", default: "256" },
      runs: { type: "string", default: "3" },
      "max-batch": { type: "string" },
      speculate: { type: "string", default: "auto" },
      only: { type: "string" },
    },
  });
  const { device, model, weights, topology } = values;
  const way = values.speculate as Guessing;
  const [tokens, runs] = [values.tokens, values.runs].map(Number);
  const streams = values.streams.split(",").map(Number);
  using files = openModelFiles(model);
  const { vocabSize } = parseModelConfig(await readConfigText(files), model);
  const texts = textsOf(model, vocabSize).filter(({ name }) => values.only === undefined || values.only.split(";").includes(name));
  if (texts.length === 0) {
    throw new Error(`--only takes ${textsOf(model, vocabSize).map(({ name }) => `"${name}"`).join("; ")}, not "${values.only}"`);
  }
  const ranks = /^(?:ranks|mixed)=(\d+)$/.exec(topology)?.[1];
  const mixed = topology.startsWith("mixed");
  const config: Config = {
    model,
    device: device as "auto",
    weights: weights as "keep",
    decode: {
      ...(ranks === undefined || mixed ? {} : { ranks: Number(ranks) }),
      attention: values.attention as "mla" | undefined,
      maxBatch: values["max-batch"] === undefined ? undefined : Number(values["max-batch"]),
      speculate: way,
    },
    mixed: mixed ? { workers: 1, ranks: Number(ranks ?? 1) } : undefined,
    server: { port: 0, shutdownTimeout: 1 },
    cluster: values.gpus === undefined ? undefined : { hosts: [{ name: "local", gpus: values.gpus.split(",").map(Number) }] },
  };
  const stop = new AbortController();
  await using server = await BenchServer.start(config, { single: topology === "single", deviceTimes: false, signal: stop.signal });
  console.log(`${(await server.status())?.summary}; ${tokens} tokens of each stream, medians of ${runs} runs in turn\n`);
  const rows = [["text", "streams", "tokens/s without", "with", "", "tokens a step", "of guessed tokens right"]];
  for (const count of streams) {
    for (const text of texts) {
      rows.push([text.name, String(count), ...await compare(server, text, { streams: count, tokens, runs, way })]);
    }
  }
  printTable(rows);
}

async function compare(
  server: BenchServer,
  { prompt, temperature, edited = false }: Text,
  { streams, tokens, runs, way }: { readonly streams: number; readonly tokens: number; readonly runs: number; readonly way: Guessing },
): Promise<string[]> {
  const predictions = await Promise.all(
    Array.from({ length: edited ? streams : 0 }, (_, seed) => predictionOf(server.url, { prompt, max_tokens: tokens, temperature, seed })),
  );
  const speeds = { off: [] as number[], guessed: [] as number[] };
  let [guessed, right, stepped, steps] = [0, 0, 0, 0];
  // The first run of each warms up.
  for (let run = 0; run <= runs; run++) {
    // Whatever one run leaves behind helps the other as often.
    for (const speculate of run % 2 === 0 ? ["off", way] as const : [way, "off"] as const) {
      const before = await server.status();
      const requests = Array.from(
        { length: streams },
        (_, seed): LoadRequest => ({ at: 0, prompt, maxTokens: tokens, temperature, seed, speculate, prediction: predictions[seed] }),
      );
      const timings = await runLoad({ url: server.url, requests });
      const failed = timings.find(({ error }) => error !== null);
      if (failed !== undefined) throw new Error(`A request failed: ${failed.error}`);
      const after = await server.status();
      if (run === 0 || before === null || after === null) continue;
      speeds[speculate === "off" ? "off" : "guessed"].push(speedOf(timings));
      if (speculate === "off") continue;
      const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + (count ?? 0), 0);
      guessed += sum(after.scheduling.drafted) - sum(before.scheduling.drafted);
      right += sum(after.scheduling.accepted) - sum(before.scheduling.accepted);
      steps += after.steps.steps - before.steps.steps;
      stepped += streams * (tokens - 1);
    }
  }
  const [off, guessing] = [median(speeds.off), median(speeds.guessed)];
  return [
    off.toFixed(0),
    guessing.toFixed(0),
    `${(guessing / off).toFixed(2)} x`,
    (stepped / steps).toFixed(2),
    guessed === 0 ? "none guessed" : `${(100 * right / guessed).toFixed(0)} % of ${guessed}`,
  ];
}

/** What a stream will be, but for a token in {@link EDITED}. */
async function predictionOf(url: string, request: object): Promise<number[]> {
  const body = JSON.stringify({ ...request, ignore_eos: true, return_token_ids: true });
  const response = await fetch(`${url}/v1/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
  if (!response.ok) throw new Error(`A request failed: ${await response.text()}`);
  const { choices: [{ token_ids }] }: { choices: { token_ids: number[] }[] } = await response.json();
  return token_ids.map((token, i) => i % EDITED === EDITED - 1 ? token_ids[0] : token);
}

/** Tokens a second of all streams, each from when it has settled to its end. */
function speedOf(timings: readonly Timing[]): number {
  return timings.reduce((sum, { tokens }) => {
    let total = 0;
    const counted = tokens.map(([at, count]) => [at, total += count] as const);
    const [from, before] = counted.find(([, count]) => count >= SETTLED)!;
    return sum + (total - before) / (counted.at(-1)![0] - from) * 1000;
  }, 0);
}
