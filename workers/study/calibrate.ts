/**
 * Calibration: one exact prefill pass over a text, from which the statistics of every layer follow (core/tpla).
 *
 * @module
 */
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { layerNames } from "../../core/model/layer_names.ts";
import { MatrixSource, readMatrix } from "../../core/model/matrix_source.ts";
import { readVector } from "../../core/model/stored_vector.ts";
import { modelHash, sha256 } from "../../core/model/model_hash.ts";
import { readConfigText } from "../../core/model_package.ts";
import { type ModelSpec, queryWidth } from "../../core/model/spec.ts";
import { chooseBasis, type LayerStatistics } from "../../core/tpla/basis.ts";
import type { CalibratedBasis } from "../../core/tpla/basis_file.ts";
import { addSandwich, MomentSum } from "../../core/tpla/moments.ts";
import { TextTokenizer } from "../../core/text/tokenizer.ts";
import type { Device, Readback } from "../../kernels/device/device.ts";
import { type DeviceChoice, openDevice } from "../../kernels/device/providers.ts";
import { loadWeights } from "../load/loader.ts";
import { Model } from "../forward/model.ts";
import { openModelFiles } from "../load/model_files.ts";

/** Options of {@link calibrate}. */
export interface CalibrateOptions {
  readonly model: string;
  readonly device: DeviceChoice;
  readonly dawn?: string;
  /** Documents, as texts or their tokens; see `cutDocuments`. */
  readonly documents: readonly (string | readonly number[])[];
  /** Tokens to use at most. */
  readonly tokens: number;
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
}

/** Prompt tokens of one step. */
const CHUNK = 128;

/** Collects the statistics of a model and chooses its default basis. */
export async function calibrate(options: CalibrateOptions): Promise<CalibratedBasis> {
  using files = openModelFiles(options.model);
  const configText = await readConfigText(files);
  const spec = parseModelConfig(configText, `${files.name}/config.json`);
  const checkpoint = await Checkpoint.open(files);
  const sequences = cutDocuments(await TextTokenizer.load(files), options, spec.maxPositions);
  const { device } = await openDevice(options.device, { dawn: options.dawn });
  try {
    const moments = await collectMoments(device, checkpoint, spec, sequences, options.onProgress);
    const statistics: LayerStatistics[] = [];
    for (const [layer, moment] of moments.entries()) statistics.push(await layerStatistics(checkpoint, spec, layer, moment));
    const tokens = Int32Array.from(sequences.flat());
    return {
      provenance: { modelHash: await modelHash(configText, checkpoint), textHash: await sha256(tokens), tokens: tokens.length },
      width: spec.latentWidth,
      statistics,
      defaults: statistics.map((one) => chooseBasis("balanced", spec.latentWidth, one)),
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

/** E[ĉ ĉᵀ], and E[q_n q_nᵀ] of every head. */
interface LayerMoments {
  readonly latents: MomentSum;
  readonly queries: readonly MomentSum[];
}

async function collectMoments(
  device: Device,
  checkpoint: Checkpoint,
  spec: ModelSpec,
  sequences: readonly number[][],
  onProgress: CalibrateOptions["onProgress"],
): Promise<LayerMoments[]> {
  const maxContext = Math.max(...sequences.map((sequence) => sequence.length));
  const model = await Model.create(device, await loadWeights(device, checkpoint, spec, { weights: "keep" }), {
    cacheDtype: "f32",
    maxTokens: maxContext,
    maxContext,
    maxSequences: 1,
    limits: { prefillRows: CHUNK, decodeRows: 1, window: Math.min(512, maxContext), logitRows: 1 },
  });
  const collector = await Collector.create(model);
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
  return collector.moments;
}

interface LayerReadbacks {
  readonly kv: Readback;
  readonly q: Readback;
}

/** Reads latents and queries of every layer back while a model runs. */
class Collector {
  readonly moments: LayerMoments[];
  readonly #model: Model;
  readonly #readbacks: readonly LayerReadbacks[];

  private constructor(model: Model, readbacks: readonly LayerReadbacks[]) {
    const { spec } = model;
    this.#model = model;
    this.#readbacks = readbacks;
    this.moments = readbacks.map(() => ({
      latents: new MomentSum(spec.latentWidth),
      queries: Array.from({ length: spec.heads }, () => new MomentSum(spec.nopeWidth)),
    }));
  }

  static async create(model: Model): Promise<Collector> {
    const { spec, device } = model;
    const readbacks: LayerReadbacks[] = [];
    for (let layer = 0; layer < spec.layers; layer++) {
      readbacks.push({
        kv: await device.createReadback("latents", CHUNK * (spec.latentWidth + spec.rope.width) * 4),
        q: await device.createReadback("queries", CHUNK * spec.heads * queryWidth(spec) * 4),
      });
    }
    return new Collector(model, readbacks);
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
    for (const [layer, { kv, q }] of this.#readbacks.entries()) {
      this.#add(this.moments[layer], floats(await kv.take()), floats(await q.take()), count);
    }
  }

  #add({ latents, queries }: LayerMoments, kv: Float32Array, q: Float32Array, rows: number): void {
    const { latentWidth, rope, heads, latentNormEps } = this.#model.spec;
    const width = queryWidth(this.#model.spec);
    for (let row = 0; row < rows; row++) {
      const latent = kv.subarray(row * (latentWidth + rope.width), row * (latentWidth + rope.width) + latentWidth);
      const squares = latent.reduce((sum, value) => sum + value * value, 0);
      latents.add(latent, 1 / (squares / latentWidth + latentNormEps));
      for (let head = 0; head < heads; head++) queries[head].add(q.subarray((row * heads + head) * width), 1);
    }
  }
}

function floats(bytes: Uint8Array<ArrayBuffer>): Float32Array {
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** C, M and N of one layer. Norm gains belong to W_UK and W_UV here: latents are collected without them. */
async function layerStatistics(checkpoint: Checkpoint, spec: ModelSpec, layer: number, moments: LayerMoments): Promise<LayerStatistics> {
  const { hiddenSize: D, heads, latentWidth, latentGain, nopeWidth, valueWidth, fp8Block, int4 } = spec;
  const prefix = layerNames(spec, layer).attention;
  const perHead = nopeWidth + valueWidth;
  const gain = await readVector(checkpoint, `${prefix}.kv_a_layernorm.weight`, latentWidth, latentGain);
  const up = await readMatrix(new MatrixSource(checkpoint, `${prefix}.kv_b_proj.weight`, [heads * perHead, latentWidth], { fp8Block, int4 }));
  const output = await readMatrix(new MatrixSource(checkpoint, `${prefix}.o_proj.weight`, [D, heads * valueWidth], { fp8Block, int4 }));
  for (let i = 0; i < up.length; i++) up[i] *= gain[i % latentWidth];
  const queries = new Float64Array(latentWidth ** 2);
  const values = new Float64Array(latentWidth ** 2);
  for (let head = 0; head < heads; head++) {
    const rows = up.subarray(head * perHead * latentWidth, (head + 1) * perHead * latentWidth);
    addSandwich(queries, rows.subarray(0, nopeWidth * latentWidth), moments.queries[head].mean(), nopeWidth, latentWidth);
    const outputMoment = new MomentSum(valueWidth);
    for (let d = 0; d < D; d++) outputMoment.add(output.subarray((d * heads + head) * valueWidth), 1);
    addSandwich(values, rows.subarray(nopeWidth * latentWidth), outputMoment.sum(), valueWidth, latentWidth);
  }
  return { latents: moments.latents.mean(), queries, values };
}
