/**
 * GGUF files as we run them and as llama.cpp does: greedy tokens of both beside each other, and what each would choose after the same tokens. llama.cpp rounds what is
 * multiplied by quantised weights to eight bits, so that it differs where two tokens, or two experts, are nearly as good; given a file's values in F32 it does not.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { LatentmeshError } from "../core/errors.ts";
import type { ModelFiles } from "../core/model/checkpoint.ts";
import { parseModelConfig } from "../core/model/config.ts";
import { GGUF_TENSOR_TYPES, type GgufTensorType } from "../core/model/gguf/tensor_types.ts";
import { configOf } from "../core/model/synthetic/shapes.ts";
import { SyntheticFiles } from "../core/model/synthetic/synthetic_files.ts";
import { TextTokenizer } from "../core/text/tokenizer.ts";
import { DirectoryFiles, openModelFiles } from "../workers/load/model_files.ts";
import { ggufFile, llamaModule, runLlamaChild } from "./cpu/llama.ts";
import { OurModel } from "./cpu/our_model.ts";
import { compareScores, equalTokens } from "./gguf/compare_scores.ts";
import type { ScoresResult, ScoresTask } from "./gguf/llama_scores_child.ts";
import { ROOT } from "./support/root.ts";
import { Random } from "./support/random.ts";
import { printTable } from "./table.ts";

/** What `deno task bench gguf --help` says. */
export const GGUF_HELP =
  "[--models tiny-mla,random,DIR] [--types F32,F16,Q8_0,Q6_K,Q5_K,Q4_K,Q4_0] [--tokens 96] [--directory DIR] GGUF files of the embedded model and of a random one of V2-Lite's form on wasm, with llama.cpp beside them (BENCH_LLAMA says where node-llama-cpp is): equal greedy tokens, choices after the same tokens, margins where they differ, how far logits are apart; beside files' values in F32, which llama.cpp does not round inputs of";

const TYPES = "F32,F16,Q8_0,Q6_K,Q5_K,Q4_K,Q4_0";
/** Prompts that are cut from texts, and tokens of each. */
const [CUT_PROMPTS, CUT_TOKENS] = [5, 40];
const RANDOM_PROMPTS = 8;

/** A model, and what it is asked. */
interface Subject {
  readonly name: string;
  readonly files: ModelFiles;
  readonly prompts: readonly (readonly number[])[];
  /** What both tokenise. */
  readonly texts: readonly string[];
}

/** Runs the bench. @throws {LatentmeshError} `invalid_config` without llama.cpp */
export async function ggufBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      models: { type: "string", default: "tiny-mla,random" },
      types: { type: "string", default: TYPES },
      tokens: { type: "string", default: "96" },
      directory: { type: "string" },
    },
  });
  const module = llamaModule();
  if (module === null) {
    const install = "npm install --prefix DIR --ignore-scripts node-llama-cpp@3.22.1";
    throw new LatentmeshError(
      "invalid_config",
      `BENCH_LLAMA does not say where node-llama-cpp is. Install it (${install}), and set BENCH_LLAMA=DIR.`,
    );
  }
  const types = values.types.split(",");
  if (!types.every(isType)) {
    throw new LatentmeshError("invalid_config", `--types: ${values.types}; there are ${Object.keys(GGUF_TENSOR_TYPES).join()}`);
  }
  const directory = values.directory ?? await Deno.makeTempDir({ prefix: "latentmesh-gguf-" });
  try {
    for (const model of values.models.split(",")) await compareModel(model, { types, tokens: Number(values.tokens), module, directory });
  } finally {
    if (values.directory === undefined) await Deno.remove(directory, { recursive: true });
  }
}

interface How {
  readonly types: readonly GgufTensorType[];
  readonly tokens: number;
  readonly module: string;
  readonly directory: string;
}

async function compareModel(model: string, how: How): Promise<void> {
  const { types, tokens, directory } = how;
  const { files, name, prompts, texts } = await subjectOf(model);
  const rows = [[
    `${name}, ${prompts.length} x ${tokens} tokens`,
    "same choice",
    "greedy texts equal",
    "equal tokens of the others",
    "margins where not, ours | theirs",
    "logits apart",
    "KL, nats",
    "largest",
  ]];
  for (const type of types) {
    const path = await ggufFile(directory, name, files, type);
    using file = openModelFiles(path);
    const ours = await scoresOf(file, prompts, tokens);
    const continuations = ours.map(({ tokens }) => tokens);
    const theirs = await askLlama(path, { prompts, tokens, continuations, texts }, how);
    rows.push(rowOf(type, ours, theirs));
    if (type !== "F32") {
      const unpacked = await ggufFile(directory, name, files, type, { unpacked: true });
      rows.push(rowOf("  its values in F32 there", ours, await askLlama(unpacked, { prompts, tokens, continuations, texts: [] }, how)));
      await Deno.remove(unpacked);
    }
    if (texts.length === 0) continue;
    const tokenizer = await TextTokenizer.load(file);
    const alike = texts.filter((text, i) => `${tokenizer.encode(text, { special: false })}` === `${theirs.tokenised[i]}`).length;
    if (alike < texts.length) console.log(`${type}: ${texts.length - alike} of ${texts.length} texts are tokenised otherwise`);
  }
  printTable(rows);
  console.log();
}

type Scores = Awaited<ReturnType<OurModel["score"]>>;

async function scoresOf(file: ModelFiles, prompts: Subject["prompts"], tokens: number): Promise<Scores[]> {
  const model = await OurModel.load(file, { weights: "keep", threads: 1, context: 1024 });
  try {
    const scores: Scores[] = [];
    for (const prompt of prompts) scores.push(await model.score(prompt, tokens));
    return scores;
  } finally {
    await model.close();
  }
}

/** What llama.cpp says of a file. */
async function askLlama(
  file: string,
  what: Pick<ScoresTask, "prompts" | "tokens" | "continuations" | "texts">,
  { module, directory }: How,
): Promise<ScoresResult & { readonly scores: Float32Array }> {
  const logits = `${directory}/logits`;
  const task: ScoresTask = { ...what, module, file, logits };
  const result = await runLlamaChild<ScoresResult>(new URL("./gguf/llama_scores_child.ts", import.meta.url), task);
  return { ...result, scores: new Float32Array((await Deno.readFile(logits)).buffer) };
}

function rowOf(
  name: string,
  ours: readonly Scores[],
  { greedy, scores }: { readonly greedy: ScoresResult["greedy"]; readonly scores: Float32Array },
) {
  const [{ tokens: { length: tokens }, logits: { length } }] = ours;
  const all = new Float32Array(ours.length * length);
  ours.forEach(({ logits }, i) => all.set(logits, i * length));
  const { positions, disagreements, error, divergence } = compareScores(all, scores, length / tokens);
  const equal = ours.map(({ tokens }, i) => equalTokens(tokens, greedy[i]));
  const most = (side: 0 | 1) => Math.max(...disagreements.map(({ margins }) => margins[side])).toFixed(3);
  return [
    name,
    `${positions - disagreements.length} of ${positions}`,
    `${equal.filter((count) => count === tokens).length} of ${ours.length}`,
    equal.filter((count) => count < tokens).join(" "),
    disagreements.length === 0 ? "" : `at most ${most(0)} | ${most(1)}`,
    error.toExponential(1),
    divergence.mean.toExponential(1),
    divergence.largest.toExponential(1),
  ];
}

function isType(name: string): name is GgufTensorType {
  return Object.hasOwn(GGUF_TENSOR_TYPES, name);
}

async function subjectOf(model: string): Promise<Subject> {
  if (model === "tiny-mla") return await embedded();
  return await asked(model === "random" ? random() : new DirectoryFiles(model));
}

/** A model whose answers mean nothing, asked random tokens. */
async function asked(files: ModelFiles): Promise<Subject> {
  const config = await files.text("config.json");
  if (config === null) {
    throw new LatentmeshError("not_found", `--models: ${files.name} holds no config.json; there are tiny-mla, random and directories`);
  }
  const { vocabSize, bosToken } = parseModelConfig(config, files.name);
  const random = new Random(1);
  const prompts = Array.from({ length: RANDOM_PROMPTS }, () => [bosToken ?? 0, ...Array.from({ length: 23 }, () => 3 + random.below(vocabSize - 3))]);
  return { files, name: files.name.split("/").at(-1)!, prompts, texts: [] };
}

/** The embedded model, asked what its goldens were made of and how held-out texts go on. */
async function embedded(): Promise<Subject> {
  const files = new DirectoryFiles(`${ROOT}/models/tiny-mla`);
  const { generations } = JSON.parse(await Deno.readTextFile(`${ROOT}/tests/golden/tiny-mla/golden.json`));
  const documents: string[] = JSON.parse(await Deno.readTextFile(`${ROOT}/tests/golden/public.json`));
  const tokenizer = await TextTokenizer.load(files);
  const asked = Object.values(generations as Record<string, { prompt_ids: number[] }>).map(({ prompt_ids }) => prompt_ids);
  const cut = documents.slice(0, CUT_PROMPTS).map((text) => tokenizer.withBos(tokenizer.encode(text, { special: false })).slice(0, CUT_TOKENS));
  return { files, name: "tiny-mla", prompts: [...asked, ...cut], texts: [...Object.keys(generations), ...documents] };
}

/** Random weights of V2-Lite's form, its positions extended by YaRN as there, with rows of whole blocks of 256 but for heads' keys, as V2-Lite has them; and with as many layers, by which llama.cpp knows it. */
function random(): ModelFiles {
  const config = {
    ...JSON.parse(configOf("v2-lite")),
    vocab_size: 4096,
    hidden_size: 256,
    num_attention_heads: 4,
    kv_lora_rank: 256,
    intermediate_size: 1024,
    moe_intermediate_size: 256,
    n_routed_experts: 8,
    rope_parameters: {
      rope_type: "yarn",
      rope_theta: 10000,
      factor: 40,
      original_max_position_embeddings: 4096,
      beta_fast: 32,
      beta_slow: 1,
      mscale: 0.707,
      mscale_all_dim: 0.707,
    },
  };
  return new SyntheticFiles("random", { config: JSON.stringify(config), seed: 1 });
}
