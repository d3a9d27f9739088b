/**
 * Which tensors of a checkpoint a rank keeps, and how they become its weights.
 *
 * @module
 */
import type { Checkpoint } from "../../core/model/checkpoint.ts";
import { invariant, LatentmeshError } from "../../core/errors.ts";
import { type MatrixSelection, MatrixSource, type Range, readMatrix, type WeightPolicy } from "../../core/model/matrix_source.ts";
import { readVector } from "../../core/model/stored_vector.ts";
import { isMoeLayer, type ModelSpec, type MoeSpec, queryWidth } from "../../core/model/spec.ts";
import type { LayerBasis } from "../../core/tpla/basis.ts";
import { basisFactors, columnIndices, partition, type RankShape, rankSpec, UNCUT } from "../../core/tpla/partition.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { BasisChange, type BasisChangeTarget } from "./basis_change.ts";
import { upload, type UploadOptions } from "./upload.ts";
import { UploadPlan } from "./upload_plan.ts";
import type { AttentionWeights, DeviceMatrix, FeedForwardWeights, LayerWeights, ModelWeights, MoeWeights } from "../forward/weights.ts";

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

/** What a rank keeps, and how. */
export interface RankWeightsOptions {
  readonly weights: WeightPolicy;
  /** Everything by default. */
  readonly shard?: LoadShard;
}

/** What depends on the latent basis. */
type LatentWeights = Pick<AttentionWeights, "basis" | "slicedNorm" | "keyUp" | "valueUp">;

/** A rank's weights, from their plan to their contents. */
export class RankWeights {
  readonly #device: Device;
  readonly #checkpoint: Checkpoint;
  readonly #spec: ModelSpec;
  readonly #shape: RankShape;
  readonly #bases: readonly LayerBasis[] | null;
  readonly #keyScale: number;
  readonly #slicedNorm: boolean;
  readonly #plan: UploadPlan;
  /** What holds rows of the embedding table, and of which token the first one is. */
  #tables: readonly { readonly matrix: DeviceMatrix; readonly first: number }[] = [];
  /** While bases are changed. */
  #basisChange: BasisChange | null = null;

  constructor(device: Device, checkpoint: Checkpoint, spec: ModelSpec, { weights, shard }: RankWeightsOptions) {
    this.#device = device;
    this.#checkpoint = checkpoint;
    this.#spec = spec;
    this.#plan = new UploadPlan(device, checkpoint, weights);
    this.#shape = shard?.shape ?? partition(spec, UNCUT)[0];
    this.#bases = shard?.bases ?? null;
    this.#keyScale = shard?.keyScale ?? 1;
    this.#slicedNorm = shard?.slicedNorm ?? false;
    invariant(this.#bases !== null || this.#shape.keyWidth === spec.latentWidth, "a rank that keeps part of the latent needs a basis");
  }

  /** Bytes of the checkpoint that {@link RankWeights.load} reads. */
  get storedBytes(): number {
    return this.#plan.storedBytes;
  }

  /** Reads what belongs to what was planned. */
  async load(options: UploadOptions): Promise<void> {
    const { latentWidth: width, nopeWidth, valueWidth } = this.#spec;
    const { heads: { begin, end }, keyWidth: columns } = this.#shape;
    const rows = (end - begin) * Math.max(nopeWidth, valueWidth);
    this.#basisChange = this.#bases === null ? null : new BasisChange(this.#device, { rows, width, columns });
    try {
      await upload(this.#plan, options);
      this.#clearZeroToken();
    } finally {
      this.#basisChange?.destroy();
    }
  }

  /** See {@link ModelSpec.zeroToken}. */
  #clearZeroToken(): void {
    const { zeroToken } = this.#spec;
    if (zeroToken === null) return;
    for (const { matrix: { layout: { rowBytes }, parts }, first } of this.#tables) {
      const row = zeroToken - first;
      for (const part of parts) {
        if (row < part.first || row >= part.first + part.count) continue;
        this.#device.write(part.weights, (row - part.first) * rowBytes, new Uint8Array(rowBytes));
      }
    }
  }

  /** Allocates everything. */
  plan(): ModelWeights {
    const { hiddenSize, vocabSize, tieEmbeddings, tensorPrefix } = this.#spec;
    const embeddingName = `${tensorPrefix}model.embed_tokens.weight`;
    const embedding = this.#matrix([this.#source(embeddingName, [vocabSize, hiddenSize])], "keep");
    const layers: LayerWeights[] = [];
    for (let layer = 0; layer < this.#spec.layers; layer++) layers.push(this.#layer(layer));
    // Logits are linear in what the final norm gives.
    const finalNorm = this.#plan.vector(`${tensorPrefix}model.norm.weight`, hiddenSize, this.#spec.logitScale);
    const rows = this.#shape.vocabulary;
    const whole = rows.end - rows.begin === vocabSize;
    const headName = tieEmbeddings ? embeddingName : `${tensorPrefix}lm_head.weight`;
    const head = tieEmbeddings && whole ? embedding : this.#matrix([this.#source(headName, [vocabSize, hiddenSize], { rows: [rows] })], "keep");
    this.#tables = [{ matrix: embedding, first: 0 }, ...(tieEmbeddings && !whole ? [{ matrix: head, first: rows.begin }] : [])];
    return {
      spec: rankSpec(this.#spec, this.#shape),
      latents: { keyWidth: this.#shape.keyWidth, valueOffset: this.#shape.valueOffset, basis: this.#bases === null ? "diagonal" : "dense" },
      firstToken: rows.begin,
      embedding,
      layers,
      finalNorm,
      head,
      bytes: this.#plan.deviceBytes,
    };
  }

  #layer(index: number): LayerWeights {
    const prefix = `${this.#spec.tensorPrefix}model.layers.${index}`;
    const { hiddenSize, denseWidth } = this.#spec;
    return {
      attentionNorm: this.#plan.vector(`${prefix}.input_layernorm.weight`, hiddenSize),
      attention: this.#attention(`${prefix}.self_attn`, index),
      feedForwardNorm: this.#plan.vector(`${prefix}.post_attention_layernorm.weight`, hiddenSize),
      feedForward: isMoeLayer(this.#spec, index) ? this.#moe(`${prefix}.mlp`) : this.#feedForward([`${prefix}.mlp`], denseWidth, this.#shape.dense),
    };
  }

  #attention(prefix: string, index: number): AttentionWeights {
    const { hiddenSize: D, heads, latentWidth, valueWidth, queryRank, rope } = this.#spec;
    const width = queryWidth(this.#spec);
    const { begin, end } = this.#shape.heads;
    const layer = (name: string, shape: readonly [number, number], selection: MatrixSelection = {}) =>
      this.#source(`${prefix}.${name}.weight`, shape, selection);
    const headRows = { rows: [{ begin: begin * width, end: end * width }] };
    const [upName, upColumns] = queryRank === null ? ["q_proj", D] : ["q_b_proj", queryRank];
    return {
      queryDown: queryRank === null ? null : {
        matrix: this.#matrix([layer("q_a_proj", [queryRank, D])]),
        norm: this.#plan.vector(`${prefix}.q_a_layernorm.weight`, queryRank),
      },
      queryUp: this.#matrix([layer(upName, [heads * width, upColumns], headRows)]),
      kvDown: this.#matrix([layer("kv_a_proj_with_mqa", [latentWidth + rope.width, D])]),
      ...(this.#bases === null ? this.#latentsAsStored(prefix) : this.#latentsUnderBasis(prefix, index)),
      output: this.#matrix([layer("o_proj", [D, heads * valueWidth], { columns: { begin: begin * valueWidth, end: end * valueWidth } })]),
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
  #latentsAsStored(prefix: string): LatentWeights {
    return {
      basis: this.#plan.vector(`${prefix}.kv_a_layernorm.weight`, this.#spec.latentWidth),
      slicedNorm: null,
      keyUp: this.#headStack(this.#matrix([this.#upProjection(prefix, "key")])),
      valueUp: this.#headStack(this.#matrix([this.#upProjection(prefix, "value")])),
    };
  }

  /** W' = W diag(gain) A⁻ᵀ, of which only this rank's columns are kept. It is no longer what the file holds, see {@link UploadPlan.computedMatrix}. */
  #latentsUnderBasis(prefix: string, layer: number): LatentWeights {
    const { latentWidth } = this.#spec;
    const keys = columnIndices(this.#shape.keyColumns);
    const basis = this.#plan.buffer(`${prefix} basis`, keys.length * latentWidth * 4);
    const changed = (part: "key" | "value", columns: readonly number[]) => {
      const compute = (target: BasisChangeTarget | null) => this.#changeBasis(prefix, layer, { part, columns, target });
      return this.#headStack(this.#plan.computedMatrix(this.#upProjection(prefix, part), columns.length, compute));
    };
    this.#plan.computed.push({ storedBytes: 0, run: () => Promise.resolve(this.#writeBasis(basis, layer, keys)) });
    return {
      basis,
      slicedNorm: this.#slicedNorm ? this.#sliceWidth(layer, keys) : null,
      keyUp: changed("key", keys),
      valueUp: changed("value", columnIndices([this.#shape.valueColumns])),
    };
  }

  #writeBasis(basis: DeviceBuffer, layer: number, keys: readonly number[]): void {
    const { latentWidth } = this.#spec;
    const { transform } = this.#bases![layer];
    const rows = new Float32Array(keys.length * latentWidth);
    keys.forEach((key, i) => rows.set(transform.subarray(key * latentWidth, (key + 1) * latentWidth), i * latentWidth));
    this.#device.write(basis, 0, rows);
  }

  async #changeBasis(
    prefix: string,
    layer: number,
    { part, columns, target }: { readonly part: "key" | "value"; readonly columns: readonly number[]; readonly target: BasisChangeTarget | null },
  ): Promise<Float32Array<ArrayBuffer> | null> {
    const gain = await readVector(this.#checkpoint, `${prefix}.kv_a_layernorm.weight`, this.#spec.latentWidth);
    const factors = basisFactors(gain, this.#bases![layer].inverse, columns, part === "key" ? this.#keyScale : 1);
    return await this.#basisChange!.multiply(await readMatrix(this.#upProjection(prefix, part)), factors, target);
  }

  /** d_c times the share of the latent's variance that some directions have. */
  #sliceWidth(layer: number, directions: readonly number[]): number {
    const { eigenvalues } = this.#bases![layer];
    const total = eigenvalues.reduce((sum, value) => sum + value, 0);
    return this.#spec.latentWidth * directions.reduce((sum, direction) => sum + eigenvalues[direction], 0) / total;
  }

  #moe(prefix: string): MoeWeights {
    const moe = this.#spec.moe!;
    const experts = Array.from({ length: moe.experts }, (_, e) => `${prefix}.experts.${e}`);
    return {
      router: this.#matrix([this.#source(`${prefix}.gate.weight`, [moe.experts, this.#spec.hiddenSize])], "keep"),
      correctionBias: moe.correctionBias
        ? this.#plan.vector(`${prefix}.gate.e_score_correction_bias`, moe.experts)
        : this.#device.createBuffer("no correction bias", moe.experts * 4),
      experts: this.#checkpoint.has(`${prefix}.experts.gate_up_proj`)
        ? this.#stackedExperts(`${prefix}.experts`, moe)
        : this.#feedForward(experts, moe.expertWidth, this.#shape.expert),
      shared: moe.sharedWidth === 0 ? null : this.#feedForward([`${prefix}.shared_experts`], moe.sharedWidth, this.#shape.shared),
    };
  }

  /** This rank's columns of experts that the file has one after the other, gate and up together. */
  #stackedExperts(prefix: string, { experts, expertWidth: width }: MoeSpec): FeedForwardWeights {
    const D = this.#spec.hiddenSize;
    const { begin, end } = this.#shape.expert;
    const each = <T>(make: (expert: number) => T) => Array.from({ length: experts }, (_, expert) => make(expert));
    const gateUp = each((expert) => {
      const rows = [2 * expert * width, (2 * expert + 1) * width].map((first): Range => ({ begin: first + begin, end: first + end }));
      return [this.#source(`${prefix}.gate_up_proj`, [experts, 2 * width, D], { rows })];
    });
    const down = each((expert) => [
      this.#source(`${prefix}.down_proj`, [experts, D, width], { rows: [{ begin: expert * D, end: (expert + 1) * D }], columns: { begin, end } }),
    ]);
    return { gateUp: this.#plan.stack(gateUp), down: this.#plan.stack(down) };
  }

  /** This rank's columns of one feed-forward layer, or of a stack of them. */
  #feedForward(prefixes: readonly string[], width: number, kept: Range): FeedForwardWeights {
    const D = this.#spec.hiddenSize;
    const gateUp = prefixes.map((prefix) => [
      this.#source(`${prefix}.gate_proj.weight`, [width, D], { rows: [kept] }),
      this.#source(`${prefix}.up_proj.weight`, [width, D], { rows: [kept] }),
    ]);
    const down = prefixes.map((prefix) => [this.#source(`${prefix}.down_proj.weight`, [D, width], { columns: kept })]);
    return { gateUp: this.#plan.stack(gateUp), down: this.#plan.stack(down) };
  }

  #source(name: string, shape: ConstructorParameters<typeof MatrixSource>[2], selection: MatrixSelection = {}): MatrixSource {
    return new MatrixSource(this.#checkpoint, name, shape, { ...selection, fp8Block: this.#spec.fp8Block, int4: this.#spec.int4 });
  }

  #matrix(sources: readonly MatrixSource[], policy?: WeightPolicy): DeviceMatrix {
    return this.#plan.stack([sources], policy);
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
