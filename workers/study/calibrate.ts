/**
 * Calibration: one exact prefill pass over a text, from which the statistics of every layer follow (core/tpla).
 *
 * @module
 */
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { mapLimited } from "../../core/limited.ts";
import { MatrixSource, readMatrix } from "../../core/model/matrix_source.ts";
import { readVector } from "../../core/model/stored_vector.ts";
import { modelHash, sha256 } from "../../core/model/model_hash.ts";
import { readConfigText } from "../../core/model/config_text.ts";
import { type ModelSpec, queryWidth } from "../../core/model/spec.ts";
import { tensorName, type TensorRole } from "../../core/model/tensor_names.ts";
import type { CalibratedBasis } from "../../core/tpla/basis_file.ts";
import type { WidthBudget } from "../../core/tpla/chosen_widths.ts";
import { TextTokenizer } from "../../core/text/tokenizer.ts";
import type { Device, Readback } from "../../kernels/device/device.ts";
import { type DeviceChoice, openDevice } from "../../kernels/device/providers.ts";
import { loadWeights } from "../load/loader.ts";
import { Model } from "../forward/model.ts";
import { openModelFiles } from "../load/model_files.ts";
import { checkBudgets, chooseWidths, type ChooseWidthsOptions } from "./choose_widths.ts";
import type { AttentionSizes, AttentionWeights } from "./moments/layer_moments.ts";
import { MomentThreads } from "./moments/moment_threads.ts";

/** Options of {@link calibrate}. */
export interface CalibrateOptions {
  readonly model: string;
  readonly device: DeviceChoice;
  readonly dawn?: string;
  /** Documents, as texts or their tokens; see `cutDocuments`. */
  readonly documents: readonly (string | readonly number[])[];
  /** Tokens to use at most. */
  readonly tokens: number;
  /** What to choose widths for by measurement; default: nothing. */
  readonly budgets?: readonly WidthBudget[];
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  /** Told of measurements for {@link budgets}. */
  readonly onMeasured?: ChooseWidthsOptions["onProgress"];
}

/** Prompt tokens of one step. */
const CHUNK = 128;

/** Collects the statistics of a model and chooses its default basis, and widths by layer where those are asked for. @throws {LatentmeshError} as {@link chooseWidths} */
export async function calibrate(options: CalibrateOptions): Promise<CalibratedBasis> {
  using files = openModelFiles(options.model);
  const configText = await readConfigText(files);
  const spec = parseModelConfig(configText, `${files.name}/config.json`);
  checkBudgets(spec, options.budgets ?? []);
  const checkpoint = await Checkpoint.open(files);
  const sequences = cutDocuments(await TextTokenizer.load(files), options, spec.maxPositions);
  const { device } = await openDevice(options.device, { dawn: options.dawn });
  try {
    using threads = new MomentThreads(sizesOf(spec), spec.layers);
    await collectMoments(device, checkpoint, spec, sequences, { threads, onProgress: options.onProgress });
    // Weights of a layer take half a gigabyte where models are large.
    const results = await mapLimited(
      Array(spec.layers).keys(),
      threads.count,
      async (layer) => await threads.finish(layer, await layerWeights(checkpoint, spec, layer)),
    );
    const statistics = results.map((result) => result.statistics);
    const tokens = Int32Array.from(sequences.flat());
    const defaults = results.map(({ basis }) => basis);
    const { budgets = [], dawn, onMeasured: onProgress } = options;
    const chosen = budgets.length === 0
      ? []
      : await chooseWidths({ checkpoint, spec, device: options.device, dawn, bases: defaults, sequences, budgets, onProgress });
    return {
      provenance: { modelHash: await modelHash(configText, checkpoint), textHash: await sha256(tokens), tokens: tokens.length },
      chosen,
      width: spec.latentWidth,
      statistics,
      defaults,
    };
  } finally {
    await device.close();
  }
}

/** Sequences from BOS, no longer than the context: the beginning of every document first, then what follows, until there are enough tokens. */
function cutDocuments(tokenizer: TextTokenizer, { documents, tokens }: CalibrateOptions, context: number): number[][] {
  const texts = documents.map((document) => typeof document === "string" ? tokenizer.encode(document, { special: true }) : document);
  const most = context - tokenizer.withBos([]).length;
  const longest = Math.max(...texts.map(({ length }) => length));
  const sequences: number[][] = [];
  let left = tokens;
  for (let start = 0; start < longest; start += most) {
    for (const text of texts.filter(({ length }) => length > start)) {
      if (left <= 0) return sequences;
      const sequence = tokenizer.withBos([...text.slice(start, start + most)]).slice(0, left);
      sequences.push(sequence);
      left -= sequence.length;
    }
  }
  return sequences;
}

async function collectMoments(
  device: Device,
  checkpoint: Checkpoint,
  spec: ModelSpec,
  sequences: readonly number[][],
  { threads, onProgress }: Pick<CalibrateOptions, "onProgress"> & { readonly threads: MomentThreads },
): Promise<void> {
  const maxContext = Math.max(...sequences.map((sequence) => sequence.length));
  const model = await Model.create(device, await loadWeights(device, checkpoint, spec, { weights: "keep" }), {
    cacheDtype: "f32",
    maxTokens: maxContext,
    maxContext,
    maxSequences: 1,
    limits: { prefillRows: CHUNK, decodeRows: 1, window: Math.min(512, maxContext), logitRows: 1 },
  });
  const collector = await Collector.create(model, threads);
  const total = sequences.reduce((sum, sequence) => sum + sequence.length, 0);
  let done = 0;
  for (const tokens of sequences) {
    const sequence = model.cache.open(tokens.length);
    for (let start = 0; start < tokens.length; start += CHUNK) {
      const chunk = tokens.slice(start, start + CHUNK);
      model.cache.grow(sequence, chunk.length);
      await collector.step(chunk.map((token, i) => ({ token, position: start + i, sequence })));
      sequence.length += chunk.length;
      done += chunk.length;
      onProgress?.({ done, total });
    }
    model.cache.close(sequence);
  }
  await collector.settled();
}

interface LayerReadbacks {
  readonly kv: Readback;
  readonly q: Readback;
}

/** Reads latents and queries of every layer back while a model runs. */
class Collector {
  readonly #model: Model;
  readonly #readbacks: readonly LayerReadbacks[];
  readonly #threads: MomentThreads;
  /** Layers of the last chunk that are being summed. */
  #summing: readonly Promise<void>[] = [];

  private constructor(model: Model, readbacks: readonly LayerReadbacks[], threads: MomentThreads) {
    this.#model = model;
    this.#readbacks = readbacks;
    this.#threads = threads;
  }

  static async create(model: Model, threads: MomentThreads): Promise<Collector> {
    const { spec, device } = model;
    const readbacks: LayerReadbacks[] = [];
    for (let layer = 0; layer < spec.layers; layer++) {
      readbacks.push({
        kv: await device.createReadback("latents", CHUNK * (spec.latentWidth + spec.rope.width) * 4),
        q: await device.createReadback("queries", CHUNK * spec.heads * queryWidth(spec) * 4),
      });
    }
    return new Collector(model, readbacks, threads);
  }

  async step(rows: Parameters<Model["record"]>[0]["rows"]): Promise<void> {
    const { spec, device } = this.#model;
    const count = rows.length;
    this.#model.record({ phase: "prefill", rows }, (layer, activations) => {
      const { kv, q } = this.#readbacks[layer];
      device.read(kv, activations.kv, 0, count * (spec.latentWidth + spec.rope.width) * 4);
      device.read(q, activations.q, 0, count * spec.heads * queryWidth(spec) * 4);
    });
    device.submit();
    const summing: Promise<void>[] = [];
    // What threads have not summed takes memory: no more than a chunk of all layers waits.
    for (const [layer, { kv, q }] of this.#readbacks.entries()) {
      const [kvs, queries] = [floats(await kv.take()), floats(await q.take())];
      await this.#summing[layer];
      summing.push(this.#threads.add(layer, { kv: kvs, q: queries, rows: count }));
    }
    this.#summing = summing;
  }

  /** Resolves when all that was computed is summed. */
  async settled(): Promise<void> {
    await Promise.all(this.#summing);
  }
}

/** A copy: what was read back is read anew with the next chunk. */
function floats(bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  return new Float32Array(bytes.slice().buffer);
}

function sizesOf({ hiddenSize, heads, latentWidth, rope: { width: ropeWidth }, nopeWidth, valueWidth, latentNormEps }: ModelSpec): AttentionSizes {
  return { hiddenSize, heads, latentWidth, ropeWidth, nopeWidth, valueWidth, latentNormEps };
}

/** What a layer's basis depends on. */
async function layerWeights(checkpoint: Checkpoint, spec: ModelSpec, layer: number): Promise<AttentionWeights> {
  const { hiddenSize, heads, latentWidth, latentGain, nopeWidth, valueWidth, fp8Block, int4 } = spec;
  const name = (role: TensorRole) => tensorName(spec.tensorNames, role, { layer });
  const matrix = (role: TensorRole, shape: readonly [number, number]) =>
    readMatrix(new MatrixSource(checkpoint, name(role), shape, { fp8Block, int4 }));
  return {
    gain: Float32Array.from(await readVector(checkpoint, name("latentNorm"), latentWidth, latentGain)),
    up: await matrix("latentUp", [heads * (nopeWidth + valueWidth), latentWidth]),
    output: await matrix("attentionOutput", [hiddenSize, heads * valueWidth]),
  };
}
