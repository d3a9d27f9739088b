/**
 * Checkpoint → device: tensors are read by byte range, converted and uploaded a block of rows at a time, so host memory never holds the model.
 *
 * @module
 */
import type { Checkpoint } from "../core/model/checkpoint.ts";
import { LatentmeshError } from "../core/errors.ts";
import { MatrixSource, type Range, readVector, type WeightPolicy } from "../core/model/matrix_source.ts";
import { type MatrixLayout, type PackedRows, sameLayout } from "../core/model/packing.ts";
import { isMoeLayer, type ModelSpec, queryWidth } from "../core/model/spec.ts";
import type { Device, DeviceBuffer } from "../kernels/device.ts";
import type { AttentionWeights, DeviceMatrix, FeedForwardWeights, LayerWeights, MatrixPart, ModelWeights, MoeWeights } from "./weights.ts";

/** How far loading has come. */
export interface LoadProgress {
  /** Bytes of the file that are on the device. */
  readonly loadedBytes: number;
  /** Bytes of the file that the model uses. */
  readonly totalBytes: number;
}

/** Options of {@link loadWeights}. */
export interface LoadOptions {
  readonly weights: WeightPolicy;
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

/** Host bytes that may wait for the device. */
const UNSETTLED_BYTES = 64 << 20;

class Loader {
  readonly #device: Device;
  readonly #checkpoint: Checkpoint;
  readonly #spec: ModelSpec;
  readonly #options: LoadOptions;
  readonly #totalBytes: number;
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
    this.#noScales = device.createBuffer("no scales", 16);
  }

  async load(): Promise<ModelWeights> {
    const { hiddenSize, vocabSize, tieEmbeddings } = this.#spec;
    const embedding = await this.#matrix([this.#source("model.embed_tokens.weight", [vocabSize, hiddenSize])], "keep");
    const layers: LayerWeights[] = [];
    for (let layer = 0; layer < this.#spec.layers; layer++) layers.push(await this.#layer(layer));
    const finalNorm = await this.#vector("model.norm.weight", hiddenSize);
    const head = tieEmbeddings ? embedding : await this.#matrix([this.#source("lm_head.weight", [vocabSize, hiddenSize])], "keep");
    await this.#device.settle();
    return { embedding, layers, finalNorm, head, bytes: this.#uploadedBytes };
  }

  async #layer(index: number): Promise<LayerWeights> {
    const prefix = `model.layers.${index}`;
    const { hiddenSize, denseWidth } = this.#spec;
    return {
      attentionNorm: await this.#vector(`${prefix}.input_layernorm.weight`, hiddenSize),
      attention: await this.#attention(`${prefix}.self_attn`),
      feedForwardNorm: await this.#vector(`${prefix}.post_attention_layernorm.weight`, hiddenSize),
      feedForward: isMoeLayer(this.#spec, index) ? await this.#moe(`${prefix}.mlp`) : await this.#feedForward([`${prefix}.mlp`], denseWidth),
    };
  }

  async #attention(prefix: string): Promise<AttentionWeights> {
    const { hiddenSize: D, heads, latentWidth, nopeWidth, valueWidth, queryRank, rope } = this.#spec;
    const queries = heads * queryWidth(this.#spec);
    const layer = (name: string, shape: readonly [number, number], rows?: readonly Range[]) => this.#source(`${prefix}.${name}.weight`, shape, rows);
    const perHead = nopeWidth + valueWidth;
    const ofEachHead = (begin: number, end: number) =>
      Array.from({ length: heads }, (_, h): Range => ({ begin: h * perHead + begin, end: h * perHead + end }));
    const up = (rows: readonly Range[]) => layer("kv_b_proj", [heads * perHead, latentWidth], rows);
    return {
      queryDown: queryRank === null ? null : {
        matrix: await this.#matrix([layer("q_a_proj", [queryRank, D])]),
        norm: await this.#vector(`${prefix}.q_a_layernorm.weight`, queryRank),
      },
      queryUp: await this.#matrix([queryRank === null ? layer("q_proj", [queries, D]) : layer("q_b_proj", [queries, queryRank])]),
      kvDown: await this.#matrix([layer("kv_a_proj_with_mqa", [latentWidth + rope.width, D])]),
      basis: await this.#vector(`${prefix}.kv_a_layernorm.weight`, latentWidth),
      keyUp: await this.#headStack(up(ofEachHead(0, nopeWidth))),
      valueUp: await this.#headStack(up(ofEachHead(nopeWidth, perHead))),
      output: await this.#matrix([layer("o_proj", [D, heads * valueWidth])]),
    };
  }

  async #moe(prefix: string): Promise<MoeWeights> {
    const moe = this.#spec.moe!;
    const experts = Array.from({ length: moe.experts }, (_, e) => `${prefix}.experts.${e}`);
    return {
      router: await this.#matrix([this.#source(`${prefix}.gate.weight`, [moe.experts, this.#spec.hiddenSize])], "keep"),
      correctionBias: moe.correctionBias
        ? await this.#vector(`${prefix}.gate.e_score_correction_bias`, moe.experts)
        : this.#device.createBuffer("no correction bias", moe.experts * 4),
      experts: await this.#feedForward(experts, moe.expertWidth),
      shared: moe.sharedWidth === 0 ? null : await this.#feedForward([`${prefix}.shared_experts`], moe.sharedWidth),
    };
  }

  /** One feed-forward layer, or a stack of them. */
  async #feedForward(prefixes: readonly string[], width: number): Promise<FeedForwardWeights> {
    const D = this.#spec.hiddenSize;
    const gateUp = prefixes.map((prefix) => [
      this.#source(`${prefix}.gate_proj.weight`, [width, D]),
      this.#source(`${prefix}.up_proj.weight`, [width, D]),
    ]);
    const down = prefixes.map((prefix) => [this.#source(`${prefix}.down_proj.weight`, [D, width])]);
    return { gateUp: await this.#stack(gateUp), down: await this.#stack(down) };
  }

  #source(name: string, shape: readonly [number, number], rows?: readonly Range[]): MatrixSource {
    return new MatrixSource(this.#checkpoint, name, shape, { rows, fp8Block: this.#spec.fp8Block });
  }

  #matrix(sources: readonly MatrixSource[], policy: WeightPolicy = this.#options.weights): Promise<DeviceMatrix> {
    return this.#stack([sources], policy);
  }

  /** The rows of one source as one matrix per head. A single part: kernels that use it see the whole stack. */
  async #headStack(source: MatrixSource): Promise<DeviceMatrix> {
    const { heads } = this.#spec;
    const matrix = await this.#matrix([source]);
    if (matrix.parts.length > 1) {
      throw new LatentmeshError(
        "out_of_memory",
        `${source.name} does not fit one binding of ${this.#device.limits.maxBindingBytes} bytes on this device`,
      );
    }
    return { ...matrix, outputs: source.rows / heads, matrices: heads, parts: [{ ...matrix.parts[0], first: 0, count: heads }] };
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
