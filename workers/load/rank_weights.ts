/**
 * Which tensors of a checkpoint a rank keeps, and how they become its weights.
 *
 * @module
 */
import type { Checkpoint } from "../../core/model/checkpoint.ts";
import { invariant } from "../../core/errors.ts";
import { type MatrixSelection, MatrixSource, type Range, type WeightPolicy } from "../../core/model/matrix_source.ts";
import { isMoeLayer, type ModelSpec, type MoeSpec } from "../../core/model/spec.ts";
import { type FeedForwardBlock, tensorName, type TensorPlace, type TensorRole } from "../../core/model/tensor_names.ts";
import { partition, type RankShape, rankSpec, UNCUT } from "../../core/tpla/partition.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { AttentionPlan, type LoadShard } from "./attention_plan.ts";
import { upload, type UploadOptions } from "./upload.ts";
import { UploadPlan } from "./upload_plan.ts";
import type { DeviceMatrix, FeedForwardWeights, LayerWeights, ModelWeights, MoeWeights, MtpWeights } from "../forward/weights.ts";

/** What a rank keeps, and how. */
export interface RankWeightsOptions {
  readonly weights: WeightPolicy;
  /** Everything by default. */
  readonly shard?: LoadShard;
  /** Another way of cutting heads and latents, of a rank that attends in both: all but attention weights are there once. */
  readonly beside?: LoadShard;
}

/** A rank's weights, from their plan to their contents. */
export class RankWeights {
  readonly #device: Device;
  readonly #checkpoint: Checkpoint;
  readonly #spec: ModelSpec;
  readonly #shape: RankShape;
  readonly #plan: UploadPlan;
  /** Of the shard, and of the one beside it, if there is one. */
  readonly #shards: readonly { readonly shard: LoadShard; readonly attention: AttentionPlan }[];
  /** What holds rows of the embedding table, and of which token the first one is. */
  #tables: readonly { readonly matrix: DeviceMatrix; readonly first: number }[] = [];

  constructor(device: Device, checkpoint: Checkpoint, spec: ModelSpec, { weights, shard, beside }: RankWeightsOptions) {
    const whole: LoadShard = { shape: partition(spec, UNCUT)[0], bases: null };
    const plan = new UploadPlan(device, checkpoint, weights);
    const shards = beside === undefined ? [shard ?? whole] : [shard ?? whole, beside];
    invariant(
      shards.every(({ shape }) => sharedBlocks(shape) === sharedBlocks(shards[0].shape)),
      "shards of one rank have the same blocks but for attention",
    );
    this.#device = device;
    this.#checkpoint = checkpoint;
    this.#spec = spec;
    this.#plan = plan;
    this.#shape = shards[0].shape;
    this.#shards = shards.map((shard) => ({ shard, attention: new AttentionPlan(device, checkpoint, spec, { plan, shard }) }));
  }

  /** Bytes of the checkpoint that {@link RankWeights.load} reads. */
  get storedBytes(): number {
    return this.#plan.storedBytes;
  }

  /** Reads what belongs to what was planned. */
  async load(options: UploadOptions): Promise<void> {
    try {
      for (const { attention } of this.#shards) attention.begin();
      await upload(this.#plan, options);
      this.#clearZeroToken();
    } finally {
      for (const { attention } of this.#shards) attention.end();
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

  /** Allocates everything. @returns the weights of the shard, and of the one beside it, if there is one */
  plan(): ModelWeights[] {
    const { hiddenSize, vocabSize, tieEmbeddings } = this.#spec;
    const embedding = this.#matrix([this.#source("embedding", [vocabSize, hiddenSize])], "keep");
    const layers = Array.from({ length: this.#spec.layers }, (_, layer) => this.#layer(layer));
    const mtp = this.#spec.mtp ? this.#mtp() : null;
    // Logits are linear in what the final norm gives.
    const finalNorm = this.#vector("finalNorm", hiddenSize, { scale: this.#spec.logitScale });
    const rows = this.#shape.vocabulary;
    const whole = rows.end - rows.begin === vocabSize;
    // A projection that is in the file is taken whatever config.json says, as transformers does.
    const tied = tieEmbeddings && !this.#checkpoint.has(this.#name("head"));
    const headRole = tied ? "embedding" : "head";
    const head = tied && whole ? embedding : this.#matrix([this.#source(headRole, [vocabSize, hiddenSize], { rows: [rows] })], "keep");
    this.#tables = [{ matrix: embedding, first: 0 }, ...(tied && !whole ? [{ matrix: head, first: rows.begin }] : [])];
    return this.#shards.map(({ shard: { shape, bases } }, i) => ({
      spec: rankSpec(this.#spec, shape),
      latents: {
        layers: shape.latents,
        tokens: shape.tokens,
        basis: bases === null ? "diagonal" : "dense",
      },
      firstToken: rows.begin,
      embedding,
      layers: layers.map((shards) => shards[i]),
      mtp: mtp === null ? null : { ...mtp.own, layer: mtp.layer[i] },
      finalNorm,
      head,
      bytes: this.#plan.deviceBytes,
    }));
  }

  /** A layer as each shard has it. */
  #layer(layer: number): LayerWeights[] {
    const { hiddenSize, denseWidth, moe } = this.#spec;
    const [own, ...others] = this.#shards;
    const attentionNorm = this.#vector("attentionNorm", hiddenSize, { layer });
    const attention = own.attention.layer(layer);
    const beside = others.map((other) => other.attention.layer(layer, attention));
    const feedForwardNorm = this.#vector("feedForwardNorm", hiddenSize, { layer });
    const dense = () => this.#feedForward("dense", [{ layer }], { width: denseWidth, kept: this.#shape.dense });
    const experts = isMoeLayer(this.#spec, layer) ? this.#moe(layer) : null;
    const blocks = moe?.shortcut === true ? { feedForward: dense(), shortcut: experts } : { feedForward: experts ?? dense(), shortcut: null };
    return [attention, ...beside].map((attention) => ({ attentionNorm, attention, feedForwardNorm, ...blocks }));
  }

  /** The layer that drafts, as each shard has it, and what all have in common. Its embedding table and vocabulary projection are copies of the model's. */
  #mtp(): { readonly layer: LayerWeights[]; readonly own: Omit<MtpWeights, "layer"> } {
    const { hiddenSize: D, layers } = this.#spec;
    const place = { layer: layers };
    const own = {
      embeddingNorm: this.#vector("mtpEmbeddingNorm", D, place),
      hiddenNorm: this.#vector("mtpHiddenNorm", D, place),
      projection: this.#matrix([this.#source("mtpProjection", [D, 2 * D], place)]),
      finalNorm: this.#vector("mtpFinalNorm", D, place),
    };
    return { layer: this.#layer(layers), own };
  }

  #moe(layer: number): MoeWeights {
    const moe = this.#spec.moe!;
    const choices = moe.experts + moe.identityExperts;
    const experts = Array.from({ length: moe.experts }, (_, expert) => ({ layer, expert }));
    return {
      router: this.#matrix([this.#source("router", [choices, this.#spec.hiddenSize], { layer })], "keep"),
      correctionBias: moe.correctionBias
        ? this.#vector("correctionBias", choices, { layer })
        : this.#device.createBuffer("no correction bias", choices * 4),
      experts: this.#checkpoint.has(this.#name("stackedGateUp", { layer }))
        ? this.#stackedExperts(layer, moe)
        : this.#feedForward("expert", experts, { width: moe.expertWidth, kept: this.#shape.expert }),
      outputNorm: moe.outputNorm ? this.#vector("moeOutputNorm", this.#spec.hiddenSize, { layer }) : null,
      shared: moe.sharedWidth === 0 ? null : this.#feedForward("shared", [{ layer }], { width: moe.sharedWidth, kept: this.#shape.shared }),
    };
  }

  /** This rank's columns of experts that the file has one after the other, gate and up together. */
  #stackedExperts(layer: number, { experts, expertWidth: width }: MoeSpec): FeedForwardWeights {
    const D = this.#spec.hiddenSize;
    const { begin, end } = this.#shape.expert;
    const each = <T>(make: (expert: number) => T) => Array.from({ length: experts }, (_, expert) => make(expert));
    const gateUp = each((expert) => {
      const rows = [2 * expert * width, (2 * expert + 1) * width].map((first): Range => ({ begin: first + begin, end: first + end }));
      return [this.#source("stackedGateUp", [experts, 2 * width, D], { layer, rows })];
    });
    const down = each((expert) => [
      this.#source("stackedDown", [experts, D, width], { layer, rows: [{ begin: expert * D, end: (expert + 1) * D }], columns: { begin, end } }),
    ]);
    return { gateUp: this.#plan.stack(gateUp), down: this.#plan.stack(down) };
  }

  /** This rank's columns of one feed-forward layer, or of a stack of them. */
  #feedForward(
    block: FeedForwardBlock,
    places: readonly TensorPlace[],
    { width, kept }: { readonly width: number; readonly kept: Range },
  ): FeedForwardWeights {
    const D = this.#spec.hiddenSize;
    const gateUp = places.map((place) => [
      this.#source(`${block}Gate`, [width, D], { ...place, rows: [kept] }),
      this.#source(`${block}Up`, [width, D], { ...place, rows: [kept] }),
    ]);
    const down = places.map((place) => [this.#source(`${block}Down`, [D, width], { ...place, columns: kept })]);
    return { gateUp: this.#plan.stack(gateUp), down: this.#plan.stack(down) };
  }

  #name(role: TensorRole, place?: TensorPlace): string {
    return tensorName(this.#spec.tensorNames, role, place);
  }

  /** @param options which one, and what its values are multiplied by */
  #vector(role: TensorRole, length: number, { scale, ...place }: TensorPlace & { readonly scale?: number }): DeviceBuffer {
    return this.#plan.vector(this.#name(role, place), length, scale);
  }

  #source(
    role: TensorRole,
    shape: ConstructorParameters<typeof MatrixSource>[2],
    { rows, columns, ...place }: MatrixSelection & TensorPlace = {},
  ): MatrixSource {
    return new MatrixSource(this.#checkpoint, this.#name(role, place), shape, {
      rows,
      columns,
      fp8Block: this.#spec.fp8Block,
      int4: this.#spec.int4,
    });
  }

  #matrix(sources: readonly MatrixSource[], policy?: WeightPolicy): DeviceMatrix {
    return this.#plan.stack([sources], policy);
  }
}

/** What all shards of a rank have in common. */
function sharedBlocks({ dense, expert, shared, vocabulary }: RankShape): string {
  return JSON.stringify([dense, expert, shared, vocabulary]);
}
