/**
 * The attention weights of a rank as one way of cutting the model has them: its heads, and its columns of the latent under a basis.
 *
 * @module
 */
import type { Checkpoint } from "../../core/model/checkpoint.ts";
import { invariant, LatentmeshError } from "../../core/errors.ts";
import { type MatrixSelection, MatrixSource, type Range, readMatrix } from "../../core/model/matrix_source.ts";
import { readVector } from "../../core/model/stored_vector.ts";
import { cachedLayers, type ModelSpec, queryWidth } from "../../core/model/spec.ts";
import { tensorName, type TensorRole } from "../../core/model/tensor_names.ts";
import type { LayerBasis } from "../../core/tpla/layer_basis.ts";
import { basisFactors, columnIndices, type RankShape } from "../../core/tpla/partition.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { BasisChange, type BasisChangeTarget } from "./basis_change.ts";
import type { UploadPlan } from "./upload_plan.ts";
import type { AttentionWeights, DeviceMatrix, IndexerWeights } from "../forward/weights.ts";

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

/** What depends on the latent basis. */
type LatentWeights = Pick<AttentionWeights, "basis" | "slicedNorm" | "keyUp" | "valueUp">;

/** What does not depend on how heads and latents are cut. */
type UncutWeights = Pick<AttentionWeights, "queryDown" | "kvDown" | "indexer">;

/** Plans the attention weights of all layers, for one shard. */
export class AttentionPlan {
  readonly #device: Device;
  readonly #checkpoint: Checkpoint;
  readonly #spec: ModelSpec;
  readonly #plan: UploadPlan;
  readonly #shape: RankShape;
  readonly #bases: readonly LayerBasis[] | null;
  readonly #keyScale: number;
  readonly #slicedNorm: boolean;
  /** While bases are changed. */
  #basisChange: BasisChange | null = null;

  constructor(device: Device, checkpoint: Checkpoint, spec: ModelSpec, { plan, shard }: { readonly plan: UploadPlan; readonly shard: LoadShard }) {
    const { shape, bases, keyScale = 1, slicedNorm = false } = shard;
    invariant(shape.latents.length === cachedLayers(spec), "a shape is of all layers whose latents are cached");
    invariant(
      bases !== null || shape.latents.every(({ keyWidth }) => keyWidth === spec.latentWidth),
      "a rank that keeps part of the latent needs a basis",
    );
    this.#device = device;
    this.#checkpoint = checkpoint;
    this.#spec = spec;
    this.#plan = plan;
    this.#shape = shape;
    this.#bases = bases;
    this.#keyScale = keyScale;
    this.#slicedNorm = slicedNorm;
  }

  /** Makes room for what changing bases takes while weights are loaded; {@link end} gives it back. */
  begin(): void {
    if (this.#bases === null) return;
    const { latentWidth: width, nopeWidth, valueWidth } = this.#spec;
    const { heads: { begin, end }, latents } = this.#shape;
    const columns = Math.max(...latents.map(({ keyWidth }) => keyWidth));
    this.#basisChange = new BasisChange(this.#device, { rows: (end - begin) * Math.max(nopeWidth, valueWidth), width, columns });
  }

  /** Bases are changed. */
  end(): void {
    this.#basisChange?.destroy();
    this.#basisChange = null;
  }

  /** @param uncut what another shard of the same rank has of the layer already */
  layer(layer: number, uncut?: UncutWeights): AttentionWeights {
    const { hiddenSize: D, heads, latentWidth, valueWidth, queryRank, rope } = this.#spec;
    const width = queryWidth(this.#spec);
    const { begin, end } = this.#shape.heads;
    const headRows = { rows: [{ begin: begin * width, end: end * width }] };
    const [upRole, upColumns] = queryRank === null ? ["query" as const, D] : ["queryUp" as const, queryRank];
    const queryDown = () =>
      queryRank === null ? null : {
        matrix: this.#matrix(this.#source("queryDown", layer, [queryRank, D])),
        norm: this.#plan.vector(this.#name("queryNorm", layer), queryRank, this.#spec.queryGain),
      };
    return {
      queryDown: uncut === undefined ? queryDown() : uncut.queryDown,
      queryUp: this.#matrix(this.#source(upRole, layer, [heads * width, upColumns], headRows)),
      indexer: uncut === undefined ? this.#indexer(layer) : uncut.indexer,
      kvDown: uncut?.kvDown ?? this.#matrix(this.#source("latentDown", layer, [latentWidth + rope.width, D])),
      ...(this.#bases === null ? this.#latentsAsStored(layer) : this.#latentsUnderBasis(layer)),
      output: this.#matrix(
        this.#source("attentionOutput", layer, [D, heads * valueWidth], { columns: { begin: begin * valueWidth, end: end * valueWidth } }),
      ),
    };
  }

  /** Scores tell tokens apart by little: what is small, keys' projection and what heads are weighed by, is kept as it is stored. */
  #indexer(layer: number): IndexerWeights | null {
    const { indexer, hiddenSize: D, queryRank } = this.#spec;
    if (indexer === null || !indexer.chooses[layer]) return null;
    const { heads, width } = indexer;
    return {
      queryUp: this.#matrix(this.#source("indexerQueryUp", layer, [heads * width, queryRank!])),
      key: this.#plan.stack([[this.#source("indexerKey", layer, [width, D])]], "keep"),
      keyGain: this.#plan.vector(this.#name("indexerKeyGain", layer), width),
      keyBias: this.#plan.vector(this.#name("indexerKeyBias", layer), width),
      headWeights: this.#plan.stack([[this.#source("indexerHeadWeights", layer, [heads, D])]], "keep"),
    };
  }

  /** W_UK (or W_UV) of this rank's heads. */
  #upProjection(layer: number, part: "key" | "value"): MatrixSource {
    const { heads, latentWidth, nopeWidth, valueWidth } = this.#spec;
    const perHead = nopeWidth + valueWidth;
    const [first, last] = part === "key" ? [0, nopeWidth] : [nopeWidth, perHead];
    const { begin, end } = this.#shape.heads;
    const rows = Array.from({ length: end - begin }, (_, h): Range => ({ begin: (begin + h) * perHead + first, end: (begin + h) * perHead + last }));
    return this.#source("latentUp", layer, [heads * perHead, latentWidth], { rows });
  }

  /** Latents are cached times the norm's gain, which leaves the projections as they are in the file. */
  #latentsAsStored(layer: number): LatentWeights {
    return {
      basis: this.#plan.vector(this.#name("latentNorm", layer), this.#spec.latentWidth, this.#spec.latentGain),
      slicedNorm: null,
      keyUp: this.#headStack(this.#matrix(this.#upProjection(layer, "key"))),
      valueUp: this.#headStack(this.#matrix(this.#upProjection(layer, "value"))),
    };
  }

  /** W' = W diag(gain) A⁻ᵀ, of which only this rank's columns are kept. It is no longer what the file holds, see {@link UploadPlan.computedMatrix}. */
  #latentsUnderBasis(layer: number): LatentWeights {
    const { latentWidth } = this.#spec;
    const { keyColumns, valueColumns } = this.#shape.latents[layer];
    const keys = columnIndices(keyColumns);
    const basis = this.#plan.buffer(`basis of layer ${layer}`, keys.length * latentWidth * 4);
    const changed = (part: "key" | "value", columns: readonly number[]) => {
      const compute = (target: BasisChangeTarget | null) => this.#changeBasis(layer, { part, columns, target });
      return this.#headStack(this.#plan.computedMatrix(this.#upProjection(layer, part), columns.length, compute));
    };
    this.#plan.computed.push({ storedBytes: 0, run: () => Promise.resolve(this.#writeBasis(basis, layer, keys)) });
    return {
      basis,
      // What was not calibrated has no shares of variance.
      slicedNorm: this.#slicedNorm && layer < this.#spec.layers ? this.#sliceWidth(layer, keys) : null,
      keyUp: changed("key", keys),
      valueUp: changed("value", columnIndices([valueColumns])),
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
    layer: number,
    { part, columns, target }: { readonly part: "key" | "value"; readonly columns: readonly number[]; readonly target: BasisChangeTarget | null },
  ): Promise<Float32Array<ArrayBuffer> | null> {
    const gain = await readVector(this.#checkpoint, this.#name("latentNorm", layer), this.#spec.latentWidth, this.#spec.latentGain);
    const factors = basisFactors(gain, this.#bases![layer].inverse, columns, part === "key" ? this.#keyScale : 1);
    return await this.#basisChange!.multiply(await readMatrix(this.#upProjection(layer, part)), factors, target);
  }

  /** d_c times the share of the latent's variance that some directions have. */
  #sliceWidth(layer: number, directions: readonly number[]): number {
    const { eigenvalues } = this.#bases![layer];
    const total = eigenvalues.reduce((sum, value) => sum + value, 0);
    return this.#spec.latentWidth * directions.reduce((sum, direction) => sum + eigenvalues[direction], 0) / total;
  }

  #name(role: TensorRole, layer: number): string {
    return tensorName(this.#spec.tensorNames, role, { layer });
  }

  #source(role: TensorRole, layer: number, shape: readonly [rows: number, columns: number], selection: MatrixSelection = {}): MatrixSource {
    const { fp8Block, int4 } = this.#spec;
    return new MatrixSource(this.#checkpoint, this.#name(role, layer), shape, { ...selection, fp8Block, int4 });
  }

  #matrix(source: MatrixSource): DeviceMatrix {
    return this.#plan.stack([[source]]);
  }

  /** The rows of a matrix as one matrix per head of this rank. A single part: kernels that use it see the whole stack. */
  #headStack(matrix: DeviceMatrix): DeviceMatrix {
    const heads = this.#shape.heads.end - this.#shape.heads.begin;
    if (matrix.parts.length > 1) {
      throw new LatentmeshError(
        "out_of_memory",
        `Projections from latents to keys and values do not fit one binding of ${this.#device.limits.maxBindingBytes} bytes on this device`,
      );
    }
    return { ...matrix, outputs: matrix.outputs / heads, matrices: heads, parts: [{ ...matrix.parts[0], first: 0, count: heads }] };
  }
}
