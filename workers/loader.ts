/**
 * Which tensors of a checkpoint a rank keeps, and how they become its weights. Tensors are read by byte range and uploaded a block of rows at a time
 * (`uploader.ts`), so host memory never holds the model.
 *
 * @module
 */
import type { Checkpoint } from "../core/model/checkpoint.ts";
import { invariant, LatentmeshError } from "../core/errors.ts";
import { type MatrixSelection, MatrixSource, type Range, readMatrix, readVector, type WeightPolicy } from "../core/model/matrix_source.ts";
import { isMoeLayer, type ModelSpec, queryWidth } from "../core/model/spec.ts";
import type { LayerBasis } from "../core/tpla/basis.ts";
import { changeColumns, columnIndices, partition, type RankShape, rankSpec, UNCUT } from "../core/tpla/partition.ts";
import type { Device } from "../kernels/device.ts";
import { Uploader } from "./uploader.ts";
import type { AttentionWeights, DeviceMatrix, FeedForwardWeights, LayerWeights, ModelWeights, MoeWeights } from "./weights.ts";

/** How far loading has come. */
export interface LoadProgress {
  /** Bytes of the file that are on the device. */
  readonly loadedBytes: number;
  /** Bytes of the file that the model uses. */
  readonly totalBytes: number;
}

/** One rank of a group, under a basis. */
export interface LoadShard {
  readonly shape: RankShape;
  /** Basis of every layer; null leaves latents as they are, which needs every latent column on this rank. */
  readonly bases: readonly LayerBasis[] | null;
  /** μ: what the latent part of scores is multiplied by; 1 by default, which is the exact one. Needs a basis. */
  readonly keyScale?: number;
  /** Normalise latents by this rank's columns alone, as the TPLA paper does. Needs the `pca` basis, whose eigenvalues say how much of the whole they are. */
  readonly slicedNorm?: boolean;
}

/** Options of {@link loadWeights}. */
export interface LoadOptions {
  readonly weights: WeightPolicy;
  /** What this rank keeps; everything by default. Only that is read. */
  readonly shard?: LoadShard;
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Only allocate: nothing of a tensor is read, and bases are not looked at. */
  readonly dry?: boolean;
}

/**
 * Loads all weights of a model onto a device.
 *
 * @throws {LatentmeshError} `invalid_checkpoint` if a tensor is missing or does not fit config.json, `out_of_memory` if the device cannot hold it
 */
export async function loadWeights(device: Device, checkpoint: Checkpoint, spec: ModelSpec, options: LoadOptions): Promise<ModelWeights> {
  return await new Loader(device, checkpoint, spec, options).load();
}

/** What depends on the latent basis. */
type LatentWeights = Pick<AttentionWeights, "basis" | "slicedNorm" | "keyUp" | "valueUp">;

class Loader {
  readonly #device: Device;
  readonly #checkpoint: Checkpoint;
  readonly #spec: ModelSpec;
  readonly #shape: RankShape;
  readonly #bases: readonly LayerBasis[] | null;
  readonly #keyScale: number;
  readonly #slicedNorm: boolean;
  readonly #uploader: Uploader;

  constructor(device: Device, checkpoint: Checkpoint, spec: ModelSpec, options: LoadOptions) {
    this.#device = device;
    this.#checkpoint = checkpoint;
    this.#spec = spec;
    const totalBytes = checkpointBytes(checkpoint, spec);
    this.#uploader = new Uploader(device, checkpoint, options.weights, {
      dry: options.dry ?? false,
      onStored: (loadedBytes) => options.onProgress?.({ loadedBytes, totalBytes }),
    });
    this.#shape = options.shard?.shape ?? partition(spec, UNCUT)[0];
    this.#bases = options.shard?.bases ?? null;
    this.#keyScale = options.shard?.keyScale ?? 1;
    this.#slicedNorm = options.shard?.slicedNorm ?? false;
    invariant(this.#bases !== null || this.#shape.keyWidth === spec.latentWidth, "a rank that keeps part of the latent needs a basis");
  }

  async load(): Promise<ModelWeights> {
    const { hiddenSize, vocabSize, tieEmbeddings } = this.#spec;
    const embedding = await this.#matrix([this.#source("model.embed_tokens.weight", [vocabSize, hiddenSize])], "keep");
    const layers: LayerWeights[] = [];
    for (let layer = 0; layer < this.#spec.layers; layer++) layers.push(await this.#layer(layer));
    const finalNorm = await this.#uploader.vector("model.norm.weight", hiddenSize);
    const rows = this.#shape.vocabulary;
    const whole = rows.end - rows.begin === vocabSize;
    const headName = tieEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    const head = tieEmbeddings && whole ? embedding : await this.#matrix([this.#source(headName, [vocabSize, hiddenSize], { rows: [rows] })], "keep");
    await this.#device.settle();
    return {
      spec: rankSpec(this.#spec, this.#shape),
      latents: { keyWidth: this.#shape.keyWidth, valueOffset: this.#shape.valueOffset, basis: this.#bases === null ? "diagonal" : "dense" },
      firstToken: rows.begin,
      embedding,
      layers,
      finalNorm,
      head,
      bytes: this.#uploader.bytes,
    };
  }

  async #layer(index: number): Promise<LayerWeights> {
    const prefix = `model.layers.${index}`;
    const { hiddenSize, denseWidth } = this.#spec;
    return {
      attentionNorm: await this.#uploader.vector(`${prefix}.input_layernorm.weight`, hiddenSize),
      attention: await this.#attention(`${prefix}.self_attn`, index),
      feedForwardNorm: await this.#uploader.vector(`${prefix}.post_attention_layernorm.weight`, hiddenSize),
      feedForward: isMoeLayer(this.#spec, index)
        ? await this.#moe(`${prefix}.mlp`)
        : await this.#feedForward([`${prefix}.mlp`], denseWidth, this.#shape.dense),
    };
  }

  async #attention(prefix: string, index: number): Promise<AttentionWeights> {
    const { hiddenSize: D, heads, latentWidth, valueWidth, queryRank, rope } = this.#spec;
    const width = queryWidth(this.#spec);
    const { begin, end } = this.#shape.heads;
    const layer = (name: string, shape: readonly [number, number], selection: MatrixSelection = {}) =>
      this.#source(`${prefix}.${name}.weight`, shape, selection);
    const headRows = { rows: [{ begin: begin * width, end: end * width }] };
    const [upName, upColumns] = queryRank === null ? ["q_proj", D] : ["q_b_proj", queryRank];
    return {
      queryDown: queryRank === null ? null : {
        matrix: await this.#matrix([layer("q_a_proj", [queryRank, D])]),
        norm: await this.#uploader.vector(`${prefix}.q_a_layernorm.weight`, queryRank),
      },
      queryUp: await this.#matrix([layer(upName, [heads * width, upColumns], headRows)]),
      kvDown: await this.#matrix([layer("kv_a_proj_with_mqa", [latentWidth + rope.width, D])]),
      ...await (this.#bases === null ? this.#latentsAsStored(prefix) : this.#latentsUnderBasis(prefix, index)),
      output: await this.#matrix([layer("o_proj", [D, heads * valueWidth], { columns: { begin: begin * valueWidth, end: end * valueWidth } })]),
    };
  }

  /** W_UK (or W_UV) of this rank's heads. */
  #upProjection(prefix: string, part: "key" | "value"): MatrixSource {
    const { heads, latentWidth, nopeWidth, valueWidth } = this.#spec;
    const perHead = nopeWidth + valueWidth;
    const [first, last] = part === "key" ? [0, nopeWidth] : [nopeWidth, perHead];
    const { begin, end } = this.#shape.heads;
    const rows = Array.from({ length: end - begin }, (_, h): Range => ({ begin: (begin + h) * perHead + first, end: (begin + h) * perHead + last }));
    return this.#source(`${prefix}.kv_b_proj.weight`, [heads * perHead, latentWidth], { rows });
  }

  /** Latents are cached times the norm's gain, which leaves the projections as they are in the file. */
  async #latentsAsStored(prefix: string): Promise<LatentWeights> {
    return {
      basis: await this.#uploader.vector(`${prefix}.kv_a_layernorm.weight`, this.#spec.latentWidth),
      slicedNorm: null,
      keyUp: this.#headStack(await this.#matrix([this.#upProjection(prefix, "key")])),
      valueUp: this.#headStack(await this.#matrix([this.#upProjection(prefix, "value")])),
    };
  }

  /** W' = W diag(gain) A⁻ᵀ, of which only this rank's columns are kept. Kept in float32 unless weights are quantised: it is no longer what the file holds. */
  async #latentsUnderBasis(prefix: string, layer: number): Promise<LatentWeights> {
    const { latentWidth } = this.#spec;
    const keys = columnIndices(this.#shape.keyColumns);
    const basis = this.#device.createBuffer(`${prefix} basis`, keys.length * latentWidth * 4);
    const changed = async (part: "key" | "value", columns: readonly number[]) => {
      const source = this.#upProjection(prefix, part);
      const matrix = await this.#uploader.hostMatrix(source.name, source.rows, columns.length, () => this.#changeBasis(prefix, layer, part, columns));
      return this.#headStack(matrix);
    };
    if (!this.#uploader.dry) {
      const { transform } = this.#bases![layer];
      this.#device.write(basis, 0, Float32Array.from(keys.flatMap((key) => [...transform.subarray(key * latentWidth, (key + 1) * latentWidth)])));
    }
    return {
      basis,
      slicedNorm: this.#slicedNorm ? this.#sliceWidth(layer, keys) : null,
      keyUp: await changed("key", keys),
      valueUp: await changed("value", columnIndices([this.#shape.valueColumns])),
    };
  }

  async #changeBasis(prefix: string, layer: number, part: "key" | "value", columns: readonly number[]): Promise<Float32Array> {
    const source = this.#upProjection(prefix, part);
    const gain = await readVector(this.#checkpoint, `${prefix}.kv_a_layernorm.weight`, this.#spec.latentWidth);
    const values = changeColumns(await readMatrix(source), gain, this.#bases![layer].inverse, columns);
    if (part === "key" && this.#keyScale !== 1) values.forEach((value, i) => values[i] = value * this.#keyScale);
    await this.#uploader.advance(source.rows * source.storedRowBytes, values.byteLength);
    return values;
  }

  /** d_c times the share of the latent's variance that some directions have. */
  #sliceWidth(layer: number, directions: readonly number[]): number {
    const { eigenvalues } = this.#bases![layer];
    const total = eigenvalues.reduce((sum, value) => sum + value, 0);
    return this.#spec.latentWidth * directions.reduce((sum, direction) => sum + eigenvalues[direction], 0) / total;
  }

  async #moe(prefix: string): Promise<MoeWeights> {
    const moe = this.#spec.moe!;
    const experts = Array.from({ length: moe.experts }, (_, e) => `${prefix}.experts.${e}`);
    return {
      router: await this.#matrix([this.#source(`${prefix}.gate.weight`, [moe.experts, this.#spec.hiddenSize])], "keep"),
      correctionBias: moe.correctionBias
        ? await this.#uploader.vector(`${prefix}.gate.e_score_correction_bias`, moe.experts)
        : this.#device.createBuffer("no correction bias", moe.experts * 4),
      experts: await this.#feedForward(experts, moe.expertWidth, this.#shape.expert),
      shared: moe.sharedWidth === 0 ? null : await this.#feedForward([`${prefix}.shared_experts`], moe.sharedWidth, this.#shape.shared),
    };
  }

  /** This rank's columns of one feed-forward layer, or of a stack of them. */
  async #feedForward(prefixes: readonly string[], width: number, kept: Range): Promise<FeedForwardWeights> {
    const D = this.#spec.hiddenSize;
    const gateUp = prefixes.map((prefix) => [
      this.#source(`${prefix}.gate_proj.weight`, [width, D], { rows: [kept] }),
      this.#source(`${prefix}.up_proj.weight`, [width, D], { rows: [kept] }),
    ]);
    const down = prefixes.map((prefix) => [this.#source(`${prefix}.down_proj.weight`, [D, width], { columns: kept })]);
    return { gateUp: await this.#uploader.stack(gateUp), down: await this.#uploader.stack(down) };
  }

  #source(name: string, shape: readonly [number, number], selection: MatrixSelection = {}): MatrixSource {
    return new MatrixSource(this.#checkpoint, name, shape, { ...selection, fp8Block: this.#spec.fp8Block });
  }

  #matrix(sources: readonly MatrixSource[], policy?: WeightPolicy): Promise<DeviceMatrix> {
    return this.#uploader.stack([sources], policy);
  }

  /** The rows of a matrix as one matrix per head of this rank. A single part: kernels that use it see the whole stack. */
  #headStack(matrix: DeviceMatrix): DeviceMatrix {
    const heads = this.#shape.heads.end - this.#shape.heads.begin;
    if (matrix.parts.length > 1) {
      throw new LatentmeshError("out_of_memory", `kv_b_proj does not fit one binding of ${this.#device.limits.maxBindingBytes} bytes on this device`);
    }
    return { ...matrix, outputs: matrix.outputs / heads, matrices: heads, parts: [{ ...matrix.parts[0], first: 0, count: heads }] };
  }
}

/** Bytes of the tensors that the model uses, without scales; layers beyond `spec.layers` (multi-token prediction) are left in the file. */
function checkpointBytes(checkpoint: Checkpoint, spec: ModelSpec): number {
  let bytes = 0;
  for (const name of checkpoint.names()) {
    const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
    const unused = (layer !== undefined && Number(layer) >= spec.layers) || name.endsWith("_scale_inv");
    if (!unused) bytes += checkpoint.info(name).bytes;
  }
  return bytes;
}
