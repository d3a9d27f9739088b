/**
 * Checkpoint → device: tensors are read by byte range, converted and uploaded a block of rows at a time, so host memory never holds the model.
 *
 * @module
 */
import type { Checkpoint } from "../core/model/checkpoint.ts";
import { invariant, LatentmeshError } from "../core/errors.ts";
import { type MatrixSelection, MatrixSource, type Range, readMatrix, readVector, type WeightPolicy } from "../core/model/matrix_source.ts";
import { type MatrixLayout, matrixLayout, type PackedRows, packRows, sameLayout } from "../core/model/packing.ts";
import { isMoeLayer, type ModelSpec, queryWidth } from "../core/model/spec.ts";
import type { LayerBasis } from "../core/tpla/basis.ts";
import { changeColumns, columnIndices, partition, type RankShape, rankSpec } from "../core/tpla/partition.ts";
import type { Device, DeviceBuffer } from "../kernels/device.ts";
import type { AttentionWeights, DeviceMatrix, FeedForwardWeights, LayerWeights, MatrixPart, ModelWeights, MoeWeights } from "./weights.ts";

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
}

/** Options of {@link loadWeights}. */
export interface LoadOptions {
  readonly weights: WeightPolicy;
  /** What this rank keeps; everything by default. Only that is read. */
  readonly shard?: LoadShard;
  readonly onProgress?: (progress: LoadProgress) => void;
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
type LatentWeights = Pick<AttentionWeights, "basis" | "keyUp" | "valueUp">;

/** Host bytes that may wait for the device. */
const UNSETTLED_BYTES = 64 << 20;

class Loader {
  readonly #device: Device;
  readonly #checkpoint: Checkpoint;
  readonly #spec: ModelSpec;
  readonly #options: LoadOptions;
  readonly #totalBytes: number;
  readonly #shape: RankShape;
  readonly #bases: readonly LayerBasis[] | null;
  #storedBytes = 0;
  #uploadedBytes = 0;
  #unsettled = 0;
  /** Stands for the scales of formats that have none. */
  readonly #noScales: DeviceBuffer;

  constructor(device: Device, checkpoint: Checkpoint, spec: ModelSpec, options: LoadOptions) {
    this.#device = device;
    this.#checkpoint = checkpoint;
    this.#spec = spec;
    this.#options = options;
    this.#totalBytes = checkpointBytes(checkpoint, spec);
    this.#shape = options.shard?.shape ?? partition(spec, { ranks: 1, latentGroups: 1, halo: 0 })[0];
    this.#bases = options.shard?.bases ?? null;
    invariant(this.#bases !== null || this.#shape.keyWidth === spec.latentWidth, "a rank that keeps part of the latent needs a basis");
    this.#noScales = device.createBuffer("no scales", 16);
  }

  async load(): Promise<ModelWeights> {
    const { hiddenSize, vocabSize, tieEmbeddings } = this.#spec;
    const embedding = await this.#matrix([this.#source("model.embed_tokens.weight", [vocabSize, hiddenSize])], "keep");
    const layers: LayerWeights[] = [];
    for (let layer = 0; layer < this.#spec.layers; layer++) layers.push(await this.#layer(layer));
    const finalNorm = await this.#vector("model.norm.weight", hiddenSize);
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
      bytes: this.#uploadedBytes,
    };
  }

  async #layer(index: number): Promise<LayerWeights> {
    const prefix = `model.layers.${index}`;
    const { hiddenSize, denseWidth } = this.#spec;
    return {
      attentionNorm: await this.#vector(`${prefix}.input_layernorm.weight`, hiddenSize),
      attention: await this.#attention(`${prefix}.self_attn`, index),
      feedForwardNorm: await this.#vector(`${prefix}.post_attention_layernorm.weight`, hiddenSize),
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
        norm: await this.#vector(`${prefix}.q_a_layernorm.weight`, queryRank),
      },
      queryUp: await this.#matrix([layer(upName, [heads * width, upColumns], headRows)]),
      kvDown: await this.#matrix([layer("kv_a_proj_with_mqa", [latentWidth + rope.width, D])]),
      ...await (this.#bases === null ? this.#latentsAsStored(prefix) : this.#latentsUnderBasis(prefix, this.#bases[index])),
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
      basis: await this.#vector(`${prefix}.kv_a_layernorm.weight`, this.#spec.latentWidth),
      keyUp: this.#headStack(await this.#matrix([this.#upProjection(prefix, "key")])),
      valueUp: this.#headStack(await this.#matrix([this.#upProjection(prefix, "value")])),
    };
  }

  /** W' = W diag(gain) A⁻ᵀ, of which only this rank's columns are kept. Kept in float32 unless weights are quantised: it is no longer what the file holds. */
  async #latentsUnderBasis(prefix: string, { transform, inverse }: LayerBasis): Promise<LatentWeights> {
    const { latentWidth } = this.#spec;
    const gain = await readVector(this.#checkpoint, `${prefix}.kv_a_layernorm.weight`, latentWidth);
    const keys = columnIndices(this.#shape.keyColumns);
    const changed = async (part: "key" | "value", columns: readonly number[]) => {
      const source = this.#upProjection(prefix, part);
      const values = changeColumns(await readMatrix(source), gain, inverse, columns);
      await this.#advance(source.rows * source.storedRowBytes, values.byteLength);
      return this.#headStack(this.#hostMatrix(source.name, values, source.rows, columns.length));
    };
    const rows = Float32Array.from(keys.flatMap((key) => [...transform.subarray(key * latentWidth, (key + 1) * latentWidth)]));
    const basis = this.#device.createBuffer(`${prefix} basis`, rows.byteLength);
    this.#device.write(basis, 0, rows);
    return { basis, keyUp: await changed("key", keys), valueUp: await changed("value", columnIndices([this.#shape.valueColumns])) };
  }

  #hostMatrix(label: string, values: Float32Array, rows: number, columns: number): DeviceMatrix {
    const { weights } = this.#options;
    const layout = matrixLayout(weights === "keep" ? "f32" : weights, columns);
    const parts = this.#allocate(label, layout, rows, 1);
    this.#upload(layout, parts, 1, 0, packRows(layout, values, rows));
    return { layout, outputs: rows, matrices: 1, parts };
  }

  async #moe(prefix: string): Promise<MoeWeights> {
    const moe = this.#spec.moe!;
    const experts = Array.from({ length: moe.experts }, (_, e) => `${prefix}.experts.${e}`);
    return {
      router: await this.#matrix([this.#source(`${prefix}.gate.weight`, [moe.experts, this.#spec.hiddenSize])], "keep"),
      correctionBias: moe.correctionBias
        ? await this.#vector(`${prefix}.gate.e_score_correction_bias`, moe.experts)
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
    return { gateUp: await this.#stack(gateUp), down: await this.#stack(down) };
  }

  #source(name: string, shape: readonly [number, number], selection: MatrixSelection = {}): MatrixSource {
    return new MatrixSource(this.#checkpoint, name, shape, { ...selection, fp8Block: this.#spec.fp8Block });
  }

  #matrix(sources: readonly MatrixSource[], policy: WeightPolicy = this.#options.weights): Promise<DeviceMatrix> {
    return this.#stack([sources], policy);
  }

  /** The rows of a matrix as one matrix per head of this rank. A single part: kernels that use it see the whole stack. */
  #headStack(matrix: DeviceMatrix): DeviceMatrix {
    const heads = this.#shape.heads.end - this.#shape.heads.begin;
    if (matrix.parts.length > 1) {
      throw new LatentmeshError("out_of_memory", `kv_b_proj does not fit one binding of ${this.#device.limits.maxBindingBytes} bytes on this device`);
    }
    return { ...matrix, outputs: matrix.outputs / heads, matrices: heads, parts: [{ ...matrix.parts[0], first: 0, count: heads }] };
  }

  /** Uploads matrices, each the rows of its sources one after the other. */
  async #stack(matrices: readonly (readonly MatrixSource[])[], policy: WeightPolicy = this.#options.weights): Promise<DeviceMatrix> {
    const layout = this.#commonLayout(matrices.flat(), policy);
    const outputs = matrices[0].reduce((sum, source) => sum + source.rows, 0);
    const single = matrices.length === 1;
    const units = single ? outputs : matrices.length;
    const unitRows = single ? 1 : outputs;
    const label = matrices[0][0].name;
    const parts = this.#allocate(label, layout, units, unitRows);
    let row = 0;
    for (const source of matrices.flat()) {
      for await (const block of source.blocks(policy)) {
        this.#upload(layout, parts, unitRows, row, block);
        row += block.rows;
        await this.#advance(block.rows * source.storedRowBytes, block.data.byteLength + block.scales.byteLength);
      }
    }
    return { layout, outputs, matrices: matrices.length, parts };
  }

  #commonLayout(sources: readonly MatrixSource[], policy: WeightPolicy): MatrixLayout {
    const layout = sources[0].layout(policy);
    const other = sources.find((source) => !sameLayout(source.layout(policy), layout));
    if (other !== undefined) {
      throw new LatentmeshError("invalid_checkpoint", `Cannot load model: ${sources[0].name} and ${other.name} are stored in different formats`);
    }
    return layout;
  }

  /** Buffers for `units` of `unitRows` rows, as many units in each as one binding allows. */
  #allocate(label: string, layout: MatrixLayout, units: number, unitRows: number): MatrixPart[] {
    const { maxBindingBytes, maxBufferBytes } = this.#device.limits;
    const perPart = Math.floor(Math.min(maxBindingBytes, maxBufferBytes) / (layout.rowBytes * unitRows));
    if (perPart === 0) throw new LatentmeshError("out_of_memory", `${label} does not fit one binding of ${maxBindingBytes} bytes on this device`);
    const parts: MatrixPart[] = [];
    for (let first = 0; first < units; first += perPart) {
      const count = Math.min(perPart, units - first);
      const rows = count * unitRows;
      parts.push({
        first,
        count,
        weights: this.#device.createBuffer(label, rows * layout.rowBytes),
        scales: layout.scaleRowBytes === 0 ? this.#noScales : this.#device.createBuffer(`${label} scales`, rows * layout.scaleRowBytes),
      });
    }
    return parts;
  }

  /** Writes consecutive rows, which may span parts. */
  #upload(layout: MatrixLayout, parts: readonly MatrixPart[], unitRows: number, row: number, block: PackedRows): void {
    const { rows, data, scales } = block;
    for (const part of parts) {
      const first = part.first * unitRows;
      const begin = Math.max(row, first);
      const end = Math.min(row + rows, first + part.count * unitRows);
      if (begin >= end) continue;
      const write = (buffer: DeviceBuffer, bytes: Uint8Array<ArrayBuffer>, perRow: number) => {
        if (perRow > 0) this.#device.write(buffer, (begin - first) * perRow, bytes.subarray((begin - row) * perRow, (end - row) * perRow));
      };
      write(part.weights, data, layout.rowBytes);
      write(part.scales, scales, layout.scaleRowBytes);
    }
  }

  async #vector(name: string, length: number): Promise<DeviceBuffer> {
    const values = await readVector(this.#checkpoint, name, length);
    const buffer = this.#device.createBuffer(name, values.byteLength);
    this.#device.write(buffer, 0, values);
    await this.#advance(this.#checkpoint.info(name).bytes, values.byteLength);
    return buffer;
  }

  async #advance(storedBytes: number, uploadedBytes: number): Promise<void> {
    this.#storedBytes += storedBytes;
    this.#unsettled += uploadedBytes;
    this.#uploadedBytes += uploadedBytes;
    // Writes wait in host memory until a submission carries them over.
    if (this.#unsettled > UNSETTLED_BYTES) {
      await this.#device.settle();
      this.#unsettled = 0;
    }
    this.#options.onProgress?.({ loadedBytes: this.#storedBytes, totalBytes: this.#totalBytes });
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
