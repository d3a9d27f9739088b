/**
 * DeepSeek-V3's forward pass in float64, whole sequences at a time and with none of the tricks: keys and values are expanded, nothing is cached. With its
 * multi-token-prediction layer. An oracle for what is computed in pieces.
 *
 * @module
 */
import { Checkpoint, type ModelFiles } from "../../core/model/checkpoint.ts";
import { readVector } from "../../core/model/stored_vector.ts";
import { isMoeLayer, type ModelSpec } from "../../core/model/spec.ts";
import type { LayerBasis } from "../../core/tpla/layer_basis.ts";
import type { LatentColumns } from "../../core/tpla/latent_columns.ts";
import { columnIndices } from "../../core/tpla/partition.ts";

type Rows = readonly Float64Array[];

/** A matrix, or a vector, row by row. */
class Tensor {
  readonly #values: Float32Array;
  readonly #columns: number;

  constructor(values: Float32Array, columns: number) {
    this.#values = values;
    this.#columns = columns;
  }

  row(index: number): Float64Array {
    return Float64Array.from(this.#values.subarray(index * this.#columns, (index + 1) * this.#columns));
  }

  /** W x, for rows of W from `first` on. */
  times(x: Float64Array, first = 0, count = this.#values.length / this.#columns): Float64Array {
    return Float64Array.from({ length: count }, (_, i) => {
      let sum = 0;
      for (let k = 0, at = (first + i) * this.#columns; k < this.#columns; k++) sum += this.#values[at + k] * x[k];
      return sum;
    });
  }
}

/** What a sequence comes to. */
export interface ReferenceRun {
  /** As logits are made of them: [tokens][D]. */
  readonly hidden: Rows;
  /** [tokens][vocabulary] */
  readonly logits: Rows;
}

/** Tensor-parallel latent attention, by definition: scores of a latent group see its keys alone, and what groups come to is added. */
export interface ReferenceSplit {
  /** Position from which on attention is split; before it is exact. */
  readonly from: number;
  /** By layer. */
  readonly bases: readonly LayerBasis[];
  /** K_i and S_i: [layer][group]. */
  readonly columns: readonly (readonly LatentColumns[])[];
}

/** One checkpoint. */
export class ReferenceModel {
  readonly spec: ModelSpec;
  readonly #tensors: ReadonlyMap<string, Float32Array>;

  private constructor(spec: ModelSpec, tensors: ReadonlyMap<string, Float32Array>) {
    this.spec = spec;
    this.#tensors = tensors;
  }

  /** Reads everything. */
  static async open(files: ModelFiles, spec: ModelSpec): Promise<ReferenceModel> {
    const checkpoint = await Checkpoint.open(files);
    const names = [...checkpoint.names()];
    const tensors = await Promise.all(names.map(async (name) => {
      const length = checkpoint.info(name).shape.reduce((a, b) => a * b, 1);
      return [name, await readVector(checkpoint, name, length)] as const;
    }));
    return new ReferenceModel(spec, new Map(tensors));
  }

  /** The model itself. @param split how attention is split; default: it is exact */
  run(tokens: readonly number[], split?: ReferenceSplit): ReferenceRun {
    let x: Rows = tokens.map((token) => this.#embedding(token));
    for (let layer = 0; layer < this.spec.layers; layer++) x = this.#layer(layer, x, split);
    return this.#finish(x, "model.norm.weight");
  }

  /**
   * The layer that drafts: entry j is made of token j and the hidden state before it, zeros where there is none.
   *
   * @param before hidden states of positions 0, 1, …: entry j takes the one before j
   */
  draft(tokens: readonly number[], before: Rows): ReferenceRun {
    const { layers, hiddenSize: D } = this.spec;
    const prefix = `model.layers.${layers}`;
    const joined = tokens.map((token, j) => {
      const embedded = this.#norm(this.#embedding(token), `${prefix}.enorm.weight`);
      const hidden = this.#norm(j === 0 ? new Float64Array(D) : before[j - 1], `${prefix}.hnorm.weight`);
      return this.#matrix(`${prefix}.eh_proj.weight`, 2 * D).times(Float64Array.from([...embedded, ...hidden]));
    });
    return this.#finish(this.#layer(layers, joined), `${prefix}.shared_head.norm.weight`);
  }

  #finish(x: Rows, norm: string): ReferenceRun {
    const hidden = x.map((row) => this.#norm(row, norm));
    const head = this.#matrix("lm_head.weight", this.spec.hiddenSize);
    return { hidden, logits: hidden.map((row) => head.times(row)) };
  }

  #layer(layer: number, x: Rows, split?: ReferenceSplit): Rows {
    const prefix = `model.layers.${layer}`;
    const normed = x.map((row) => this.#norm(row, `${prefix}.input_layernorm.weight`));
    const groups = split?.columns[layer].map(({ keyColumns, valueColumns }) => ({
      keys: projection(split.bases[layer], columnIndices(keyColumns)),
      values: projection(split.bases[layer], columnIndices([valueColumns])),
    }));
    const attended = this.#attention(`${prefix}.self_attn`, normed, split?.from ?? Infinity, groups ?? []);
    const between = x.map((row, t) => sum(row, attended[t]));
    return between.map((row) => {
      const h = this.#norm(row, `${prefix}.post_attention_layernorm.weight`);
      return sum(row, isMoeLayer(this.spec, layer) ? this.#experts(`${prefix}.mlp`, h) : this.#feedForward(`${prefix}.mlp`, h));
    });
  }

  /** @param groups which attention is split into from position `from` on */
  #attention(prefix: string, h: Rows, from: number, groups: readonly GroupProjections[]): Rows {
    const { heads, hiddenSize: D, latentWidth: C, nopeWidth: N, valueWidth: V, queryRank, rope: { width: R }, attentionScale } = this.spec;
    const queries = h.map((row, t) => {
      const q = queryRank === null
        ? this.#matrix(`${prefix}.q_proj.weight`, D).times(row)
        : this.#matrix(`${prefix}.q_b_proj.weight`, queryRank).times(
          this.#norm(this.#matrix(`${prefix}.q_a_proj.weight`, D).times(row), `${prefix}.q_a_layernorm.weight`, this.spec.latentNormEps),
        );
      return Array.from({ length: heads }, (_, head) => {
        const own = q.subarray(head * (N + R), (head + 1) * (N + R));
        return Float64Array.from([...own.subarray(0, N), ...this.#rotate(own.subarray(N), t)]);
      });
    });
    const gain = this.#tensors.get(`${prefix}.kv_a_layernorm.weight`)!;
    const expanded = (project: Project, latent: Float64Array) => {
      const eps = this.spec.latentNormEps;
      const rms = Math.sqrt(dot(latent, latent) / C + eps);
      return this.#matrix(`${prefix}.kv_b_proj.weight`, C).times(project(latent.map((value) => value / rms)).map((value, k) => value * gain[k]));
    };
    const keysOf = ({ keys, values }: GroupProjections) =>
      h.map((row, t) => {
        const latent = this.#matrix(`${prefix}.kv_a_proj_with_mqa.weight`, D).times(row);
        const [upKeys, upValues] = [keys, values].map((project) => expanded(project, latent.subarray(0, C)));
        const rotated = this.#rotate(latent.subarray(C), t);
        return Array.from({ length: heads }, (_, head) => ({
          key: Float64Array.from([...upKeys.subarray(head * (N + V), head * (N + V) + N), ...rotated]),
          value: upValues.subarray(head * (N + V) + N, (head + 1) * (N + V)),
        }));
      });
    const whole = keysOf(WHOLE);
    const split = groups.map(keysOf);
    return queries.map((own, t) => {
      const parts = (t < from ? [whole] : split).map((keys) =>
        own.flatMap((query, head) => {
          const scores = keys.slice(0, t + 1).map((of) => dot(query, of[head].key) * attentionScale);
          const most = Math.max(...scores);
          const weights = scores.map((score) => Math.exp(score - most));
          const total = weights.reduce((a, b) => a + b);
          const values = new Float64Array(V);
          weights.forEach((weight, at) => keys[at][head].value.forEach((value, k) => values[k] += weight / total * value));
          return [...values];
        })
      );
      const out = parts.map((part): Float64Array => Float64Array.from(part)).reduce(sum);
      return this.#matrix(`${prefix}.o_proj.weight`, heads * V).times(out);
    });
  }

  /** Pairs lie side by side. */
  #rotate(x: Float64Array, position: number): Float64Array {
    const { width, theta } = this.spec.rope;
    const rotated = new Float64Array(width);
    for (let i = 0; i < width; i += 2) {
      const angle = position * theta ** (-i / width);
      rotated[i] = x[i] * Math.cos(angle) - x[i + 1] * Math.sin(angle);
      rotated[i + 1] = x[i] * Math.sin(angle) + x[i + 1] * Math.cos(angle);
    }
    return rotated;
  }

  #feedForward(prefix: string, h: Float64Array): Float64Array {
    const D = this.spec.hiddenSize;
    const [gate, up] = ["gate_proj", "up_proj"].map((name) => this.#matrix(`${prefix}.${name}.weight`, D).times(h));
    return this.#matrix(`${prefix}.down_proj.weight`, gate.length).times(gate.map((value, k) => value / (1 + Math.exp(-value)) * up[k]));
  }

  #experts(prefix: string, h: Float64Array): Float64Array {
    const moe = this.spec.moe!;
    const scores = Array.from(this.#matrix(`${prefix}.gate.weight`, this.spec.hiddenSize).times(h), (logit) => 1 / (1 + Math.exp(-logit)));
    const bias = this.#tensors.get(`${prefix}.gate.e_score_correction_bias`)!;
    const choice = scores.map((score, e) => score + bias[e]);
    const size = moe.experts / moe.groups;
    const best = (values: readonly number[], count: number) => values.toSorted((a, b) => b - a).slice(0, count);
    const groups = Array.from({ length: moe.groups }, (_, g) => ({
      g,
      score: best(choice.slice(g * size, (g + 1) * size), 2).reduce((a, b) => a + b),
    }));
    const allowed = new Set(groups.toSorted((a, b) => b.score - a.score).slice(0, moe.activeGroups).map(({ g }) => g));
    const chosen = [...choice.keys()].filter((e) => allowed.has(Math.floor(e / size))).toSorted((a, b) => choice[b] - choice[a]).slice(
      0,
      moe.activeExperts,
    );
    const total = moe.normalize ? chosen.reduce((sum, e) => sum + scores[e], 0) : 1;
    let out = moe.sharedWidth > 0 ? this.#feedForward(`${prefix}.shared_experts`, h) : new Float64Array(h.length);
    for (const e of chosen) {
      const weight = scores[e] / total * moe.routedScale;
      out = sum(out, this.#feedForward(`${prefix}.experts.${e}`, h).map((value) => value * weight));
    }
    return out;
  }

  #embedding(token: number): Float64Array {
    return this.#matrix("model.embed_tokens.weight", this.spec.hiddenSize).row(token);
  }

  #norm(x: Float64Array, name: string, eps = this.spec.normEps): Float64Array {
    const gamma = this.#tensors.get(name)!;
    const scale = 1 / Math.sqrt(dot(x, x) / x.length + eps);
    return x.map((value, k) => value * scale * gamma[k]);
  }

  #matrix(name: string, columns: number): Tensor {
    return new Tensor(this.#tensors.get(name)!, columns);
  }
}

type Project = (latent: Float64Array) => Float64Array;

/** What a latent group has of a latent that is normalised, as keys and as values. */
interface GroupProjections {
  readonly keys: Project;
  readonly values: Project;
}

const WHOLE: GroupProjections = { keys: (latent) => latent, values: (latent) => latent };

/** Some directions of a basis alone. */
function projection({ transform, inverse }: LayerBasis, columns: readonly number[]): Project {
  return (latent) => {
    const width = latent.length;
    const kept = columns.map((column) => dot(transform.subarray(column * width, (column + 1) * width), latent));
    return latent.map((_, row) => columns.reduce((sum, column, i) => sum + inverse[row * width + column] * kept[i], 0));
  };
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
  return sum;
}

function sum(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, k) => value + b[k]);
}
