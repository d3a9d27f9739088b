/**
 * What `bench whole` is asked: cases, and the servers that they are run on.
 *
 * @module
 */
import { ATTENTION_MODES, type AttentionMode } from "../../core/tpla/scheme.ts";
import { parseArgs } from "node:util";
import { CACHE_DTYPES, type CacheDtype } from "../../core/cache/cache_dtype.ts";
import type { WeightPolicy } from "../../core/model/matrix_source.ts";
import { parseSynthetic } from "../../core/model/synthetic/name.ts";
import type { DeviceChoice } from "../../kernels/device/providers.ts";

/** Sequences that are decoded together, and the prompt tokens of each. */
export interface Case {
  readonly batch: number;
  readonly context: number;
}

/** How a case is named, on the command line and in tables. */
export function nameOf({ batch, context }: Case): string {
  return `${batch}x${context}`;
}

/** One server. */
export interface Run {
  readonly device: DeviceChoice;
  /** Ranks of the decode group, or of the mixed unit; null: one process, no workers. */
  readonly ranks: number | null;
  /** Whether the same ranks compute prompts, as one process does. */
  readonly mixed: boolean;
  readonly attention: AttentionMode;
}

const EXCHANGES = ["auto", "shared-memory", "websocket"] as const;
const FEED_FORWARDS = ["auto", "sharded", "replicated"] as const;

/** Everything. */
export interface WholeOptions {
  /** A directory, or the name of a synthetic model. */
  readonly model: string;
  readonly weights: WeightPolicy;
  /** Precision of cached latents; by default that of the device. */
  readonly cacheDtype: CacheDtype | undefined;
  readonly cases: readonly Case[];
  readonly runs: readonly Run[];
  /** Tokens of each stream that count. */
  readonly tokens: number;
  /** Most sequences that are decoded together, which also decides by which kernels; by default those of the largest case. */
  readonly maxBatch: number | undefined;
  /** Tokens with which all prompts of a case begin. */
  readonly prefix: number;
  readonly gpus: readonly number[] | null;
  readonly halo: number | "auto" | undefined;
  readonly exchange: (typeof EXCHANGES)[number] | undefined;
  readonly feedForward: (typeof FEED_FORWARDS)[number] | undefined;
  readonly prefillChunk: number | undefined;
  /** Prompt tokens that a prefill unit keeps; by default those of all prompts of a case. */
  readonly prefillCache: number | undefined;
  /** Whether several streams are asked once, and the first go on until the last has begun: for as many as the caches of prefill units do not hold. */
  readonly once: boolean;
  /** Tokens that a stream may be ahead of the last one to begin; by default by their number. */
  readonly lead: number | undefined;
  /** Whether devices' own clocks are asked. */
  readonly deviceTimes: boolean;
  readonly json: string | undefined;
  readonly card: string | undefined;
}

/** Flags, for `--help`. */
export const WHOLE_HELP =
  "[--shape v2-lite --layers N | --model DIR] [--weights keep] [--cache-dtype f16|f32|q8] [--topology single|mixed|mixed=2|ranks=1|ranks=2,…] [--attention tpla,mla] [--cases 1x1024,16x1024] [--device dawn,deno,wasm,cpu,auto] [--gpus 0,1] [--halo R] [--exchange auto|shared-memory|websocket] [--feed-forward auto|sharded|replicated] [--tokens 128] [--max-batch N] [--prefill-chunk N] [--prefill-cache N] [--once] [--lead N] [--prefix N] [--device-times] [--json FILE --card NAME] the real server under streaming clients: first tokens, steps, and where a step's time goes, beside its floor";

/** Parses the command line. @throws {Error} that says what cannot be measured, before anything is started */
export function parseOptions(args: readonly string[]): WholeOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      shape: { type: "string", default: "v2-lite" },
      layers: { type: "string" },
      model: { type: "string" },
      weights: { type: "string", default: "keep" },
      "cache-dtype": { type: "string" },
      topology: { type: "string", default: "ranks=1" },
      attention: { type: "string" },
      halo: { type: "string" },
      exchange: { type: "string" },
      "feed-forward": { type: "string" },
      cases: { type: "string", default: "1x1024" },
      device: { type: "string", default: "dawn" },
      gpus: { type: "string" },
      tokens: { type: "string", default: "128" },
      prefix: { type: "string", default: "0" },
      "max-batch": { type: "string" },
      "prefill-chunk": { type: "string" },
      "prefill-cache": { type: "string" },
      once: { type: "boolean", default: false },
      lead: { type: "string" },
      "device-times": { type: "boolean", default: false },
      json: { type: "string" },
      card: { type: "string" },
    },
  });
  const model = values.model ?? `synthetic:${values.shape}${values.layers === undefined ? "" : `?layers=${values.layers}`}`;
  if (values.model === undefined) parseSynthetic(model);
  const cases = values.cases.split(",").map(parseCase);
  const devices = values.device.split(",").map((device) => oneOf("--device", device, ["dawn", "deno", "wasm", "cpu", "auto"] as const));
  const topologies = values.topology.split(",").map(parseTopology);
  const attentions = values.attention?.split(",").map((attention) => oneOf("--attention", attention, ATTENTION_MODES));
  const runs = devices.flatMap((device) =>
    topologies.flatMap(({ ranks, mixed }) =>
      attentionsOf({ ranks, mixed }, attentions).map((attention) => ({
        device,
        ranks,
        mixed,
        attention,
      }))
    )
  );
  const tokens = whole("--tokens", values.tokens, 2);
  return {
    model,
    weights: oneOf("--weights", values.weights, ["keep", "q8", "q4"] as const),
    cacheDtype: values["cache-dtype"] === undefined ? undefined : oneOf("--cache-dtype", values["cache-dtype"], CACHE_DTYPES),
    cases,
    runs,
    tokens,
    maxBatch: values["max-batch"] === undefined ? undefined : whole("--max-batch", values["max-batch"], Math.max(...cases.map(({ batch }) => batch))),
    prefix: whole("--prefix", values.prefix, 0),
    gpus: values.gpus?.split(",").map((gpu) => whole("--gpus", gpu, 0)) ?? null,
    halo: values.halo === undefined || values.halo === "auto" ? values.halo : whole("--halo", values.halo, 0),
    exchange: values.exchange === undefined ? undefined : oneOf("--exchange", values.exchange, EXCHANGES),
    feedForward: values["feed-forward"] === undefined ? undefined : oneOf("--feed-forward", values["feed-forward"], FEED_FORWARDS),
    prefillChunk: values["prefill-chunk"] === undefined ? undefined : whole("--prefill-chunk", values["prefill-chunk"], 1),
    prefillCache: values["prefill-cache"] === undefined ? undefined : whole("--prefill-cache", values["prefill-cache"], 1),
    once: values.once,
    lead: values.lead === undefined ? undefined : whole("--lead", values.lead, 0),
    deviceTimes: values["device-times"],
    json: values.json,
    card: values.card,
  };
}

/** One rank has heads and latents whole unless it is asked to change their basis, and where it also computes prompts always. */
function attentionsOf({ ranks, mixed }: Pick<Run, "ranks" | "mixed">, asked: readonly Run["attention"][] | undefined): readonly Run["attention"][] {
  const alone = ranks === null || ranks === 1;
  if (mixed) return alone ? ["mla"] : asked ?? ["mla"];
  return asked ?? [alone ? "mla" : "tpla"];
}

function parseCase(text: string): Case {
  const match = /^(\d+)x(\d+)$/.exec(text);
  const [batch, context] = match === null ? [0, 0] : [Number(match[1]), Number(match[2])];
  if (batch < 1 || context < 1) throw new Error(`--cases: "${text}" is no case; one is BATCHxCONTEXT, such as 16x1024`);
  return { batch, context };
}

function parseTopology(text: string): Pick<Run, "ranks" | "mixed"> {
  if (text === "single") return { ranks: null, mixed: true };
  if (text === "mixed") return { ranks: 1, mixed: true };
  const [, kind, ranks] = /^(ranks|mixed)=([1-9]\d*)$/.exec(text) ?? [];
  if (ranks === undefined) throw new Error(`--topology: "${text}" is none; there are single, mixed, mixed=2, ranks=1, ranks=2, …`);
  return { ranks: Number(ranks), mixed: kind === "mixed" };
}

function oneOf<T extends string>(flag: string, text: string, choices: readonly T[]): T {
  const chosen = choices.find((choice) => choice === text);
  if (chosen === undefined) throw new Error(`${flag}: "${text}" is none of ${choices.join(", ")}`);
  return chosen;
}

function whole(flag: string, text: string, least: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least) throw new Error(`${flag}: "${text}" is no whole number from ${least} on`);
  return value;
}
