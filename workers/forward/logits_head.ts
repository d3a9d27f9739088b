/**
 * The end of the forward pass: hidden states → logits → candidates, on the device; and the ways back for lists, or for whole rows where lists are not
 * enough.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { LogitsAnswer, LogitsQuery } from "../../core/generation.ts";
import { type CandidateList, firstCandidates, LIST_WORDS, MOST_CANDIDATES, readCandidates } from "../../core/sampling/candidates.ts";
import { ceilDiv, floatBits } from "../../core/numeric.ts";
import { adjustLogits, ADJUSTMENT_WORDS } from "../../kernels/adjust_logits/adjust_logits.ts";
import { candidates, type CandidatesParams } from "../../kernels/candidates/candidates.ts";
import { CHUNK_TOKENS, SAMPLING_WORDS } from "../../kernels/candidates/layout.ts";
import type { BoundKernel, DeviceBuffer, Readback } from "../../kernels/device/device.ts";
import { maskLogits, maskWords } from "../../kernels/mask_logits/mask_logits.ts";
import { mergeCandidates } from "../../kernels/merge_candidates/merge_candidates.ts";
import { rmsNorm } from "../../kernels/rms_norm/rms_norm.ts";
import { mostRows } from "./activations.ts";
import { AdjustmentList, type RowAdjustments } from "./adjustment_list.ts";
import type { ModelContext } from "./context.ts";
import { Linear } from "./linear.ts";
import type { Phase } from "./linear_binding.ts";
import { bindNorm } from "./norm.ts";
import type { ModelWeights } from "./weights.ts";

/** What one row wants to know of its logits. */
export interface RowQuery {
  /** Noise key and position of the token being drawn. */
  readonly key: number;
  readonly position: number;
  readonly inverseTemperature: number;
  /** Token whose logit is wanted. */
  readonly target?: number;
}

/** How many candidates are wanted. */
export type CandidatesQuery = Pick<LogitsQuery, "plain" | "adjusted" | "draw">;

/** A query whose adjustments are as a device takes them. */
export interface HeadQuery extends Omit<LogitsQuery, "adjustments"> {
  readonly adjustments: RowAdjustments;
}

/** Adjustments that one submission applies. */
const MOST_ADJUSTMENTS = 65_536;

interface Parts {
  readonly norm: BoundKernel<"rows" | "first_row">;
  readonly head: Linear;
  readonly adjust: BoundKernel<"count" | "rows" | "first_token">;
  readonly mask: BoundKernel<"rows" | "first_token">;
  readonly candidates: BoundKernel<CandidatesParams>;
  readonly merge: BoundKernel<"rows" | "count" | "first_token">;
  /** Tokens whose logits are here: all of them on a single worker. */
  readonly firstToken: number;
  readonly vocabulary: number;
  readonly logits: DeviceBuffer;
  readonly sampling: DeviceBuffer;
  readonly adjustments: DeviceBuffer;
  readonly masks: DeviceBuffer;
  readonly lists: DeviceBuffer;
  readonly listReadback: Readback;
}

/** Final norm, vocabulary projection and candidate selection. */
export class LogitsHead {
  readonly #context: ModelContext;
  readonly #parts: Parts;
  readonly #samplingWords: Uint32Array<ArrayBuffer>;
  #rowReadback: Readback | null = null;

  private constructor(context: ModelContext, parts: Parts) {
    this.#context = context;
    this.#parts = parts;
    this.#samplingWords = new Uint32Array(context.limits.logitRows * SAMPLING_WORDS);
  }

  static async create(context: ModelContext, weights: ModelWeights): Promise<LogitsHead> {
    const { device, spec, activations: a, limits } = context;
    const rows = limits.logitRows;
    const vocabulary = weights.head.outputs;
    const { hiddenSize: width } = spec;
    const logits = device.createBuffer("logits", rows * vocabulary * 4);
    const normed = device.createBuffer("final normed", rows * width * 4);
    const rounded = a.hRounded === null ? null : device.createBuffer("final rounded", rows * width * 2);
    const sampling = device.createBuffer("sampling", rows * SAMPLING_WORDS * 4);
    const adjustments = device.createBuffer("adjustments", MOST_ADJUSTMENTS * ADJUSTMENT_WORDS * 4);
    const masks = device.createBuffer("grammar masks", rows * maskWords(spec.vocabSize) * 4);
    const chunkLists = device.createBuffer("chunk lists", rows * ceilDiv(vocabulary, CHUNK_TOKENS) * LIST_WORDS * 4);
    const lists = device.createBuffer("candidate lists", rows * LIST_WORDS * 4);
    const [norm, head, adjust, mask, select, merge, listReadback] = await Promise.all([
      bindNorm(device, rmsNorm, { width, inputStride: width, eps: spec.normEps }, {
        buffers: { x: a.x, gamma: weights.finalNorm, y: normed },
        rounded,
        most: { rows, first_row: mostRows(limits) },
      }),
      Linear.create(context, weights.head, {
        x: normed,
        rounded: rounded === null ? {} : { decode: rounded },
        y: logits,
        precise: "prefill",
        most: { prefill: rows, decode: rows },
      }),
      device.compile(adjustLogits, { vocabulary }),
      device.compile(maskLogits, { vocabulary, wholeVocabulary: spec.vocabSize }),
      device.compile(candidates, { vocabulary }),
      device.compile(mergeCandidates, { vocabulary }),
      device.createReadback("candidate lists", rows * LIST_WORDS * 4),
    ]);
    return new LogitsHead(context, {
      norm,
      head,
      adjust: adjust.bind({ adjustments, logits }, { count: MOST_ADJUSTMENTS, rows, first_token: weights.firstToken }),
      mask: mask.bind({ masks, logits }, { rows, first_token: weights.firstToken }),
      candidates: select.bind({ logits, sampling, lists: chunkLists }, { rows, count: MOST_CANDIDATES, draw: 1, first_token: weights.firstToken }),
      merge: merge.bind({ logits, sampling, chunk_lists: chunkLists, lists }, { rows, count: MOST_CANDIDATES, first_token: weights.firstToken }),
      firstToken: weights.firstToken,
      vocabulary,
      logits,
      sampling,
      adjustments,
      masks,
      lists,
      listReadback,
    });
  }

  /** Records logits of rows `firstRow … firstRow + rows` of the residual stream; at most `logitRows`. */
  recordLogits(phase: Phase, firstRow: number, rows: number): void {
    this.#context.device.run(this.#parts.norm, { rows, first_row: firstRow });
    this.#parts.head.run(phase, rows);
  }

  /** Records changes to logits of the recorded rows, in several submissions where the buffer does not hold all. */
  recordAdjustments(rows: readonly RowAdjustments[]): void {
    const { device } = this.#context;
    const most = Math.min(MOST_ADJUSTMENTS, rows.reduce((sum, { count }) => sum + count, 0));
    const words = new Uint32Array(most * ADJUSTMENT_WORDS);
    let count = 0;
    const flush = () => {
      if (count === 0) return;
      device.write(this.#parts.adjustments, 0, words.subarray(0, count * ADJUSTMENT_WORDS));
      device.run(this.#parts.adjust, { count, rows: rows.length, first_token: this.#parts.firstToken });
      count = 0;
    };
    rows.forEach((adjustments, row) =>
      adjustments.write(row, (wanted) => {
        if (count === most) {
          flush();
          // What is written next must not reach the device before what was recorded has run.
          device.submit();
        }
        const from = count;
        count += Math.min(wanted, most - count);
        return words.subarray(from * ADJUSTMENT_WORDS, count * ADJUSTMENT_WORDS);
      })
    );
    flush();
  }

  /** Records what {@link recordLogits} and {@link answers} will, as far as it can be told from how much is asked: to anticipate it. */
  recordOutline(phase: Phase, firstRow: number, queries: readonly CandidatesQuery[]): void {
    this.recordLogits(phase, firstRow, queries.length);
    const plain = plainOf(queries);
    if (plain.count > 0) this.#recordCandidates(queries.length, plain);
  }

  /**
   * Submits and waits for the candidates of the recorded rows.
   *
   * @param meanwhile called while the device works on them
   */
  async candidates(queries: readonly RowQuery[], count: number, draw: boolean, meanwhile?: () => void): Promise<CandidateList[]> {
    const { device, clock } = this.#context;
    const parts = this.#parts;
    const rows = queries.length;
    const words = this.#samplingWords;
    for (let row = 0; row < rows; row++) {
      const { key, position, inverseTemperature, target } = queries[row];
      words[row * SAMPLING_WORDS] = key;
      words[row * SAMPLING_WORDS + 1] = position;
      words[row * SAMPLING_WORDS + 2] = floatBits(inverseTemperature);
      words[row * SAMPLING_WORDS + 3] = target ?? 0;
    }
    device.write(parts.sampling, 0, words.subarray(0, rows * SAMPLING_WORDS));
    this.#recordCandidates(rows, { count, draw });
    device.submit();
    clock.lap("record");
    meanwhile?.();
    const bytes = await parts.listReadback.take();
    clock.lap("readback");
    return Array.from({ length: rows }, (_, row) => readCandidates(bytes, row, count));
  }

  /**
   * Answers one query for each recorded row. Adjustments and masks stay in effect for {@link logitsRow}.
   *
   * @param meanwhile called while the device works on the last of what is asked
   * @throws {LatentmeshError} `protocol` if a mask is not one of this vocabulary
   */
  async answers(queries: readonly HeadQuery[], meanwhile?: () => void): Promise<LogitsAnswer[]> {
    const [wantsPlain, wantsAdjusted] = [plainOf(queries), adjustedOf(queries)];
    const ask = ({ count, draw }: Wanted, last: boolean) => this.candidates(queries, count, draw, last ? meanwhile : undefined);
    const plain = wantsPlain.count === 0 ? null : await ask(wantsPlain, wantsAdjusted.count === 0);
    let adjusted: CandidateList[] | null = null;
    if (wantsAdjusted.count > 0) {
      this.recordChanges(queries);
      adjusted = await ask(wantsAdjusted, true);
    }
    return queries.map((query, row) => ({ plain: firstOf(plain, row, query.plain), adjusted: firstOf(adjusted, row, query.adjusted) }));
  }

  /** Runs every kernel that queries may need, for the recorded rows. */
  async warmUp(rows: number): Promise<void> {
    const mask = new Uint32Array(maskWords(this.#context.spec.vocabSize)).fill(0xffffffff);
    const adjustments = new AdjustmentList();
    adjustments.set({ token: 0, repetition: 1, addend: 0 });
    await this.answers(Array.from({ length: rows }, (_, key) => (
      { key, position: 0, inverseTemperature: 1, draw: true, plain: 1, adjusted: 1, adjustments, mask }
    )));
  }

  /** Records what queries change of the recorded rows: penalties, bias, then what a grammar forbids. */
  recordChanges(queries: readonly HeadQuery[]): void {
    this.recordAdjustments(queries.map(({ adjustments }) => adjustments));
    if (queries.every(({ mask }) => mask === null)) return;
    const { device, spec } = this.#context;
    const words = maskWords(spec.vocabSize);
    const masks = new Uint32Array(queries.length * words).fill(0xffffffff);
    queries.forEach(({ mask }, row) => {
      if (mask === null) return;
      if (mask.length !== words) throw new LatentmeshError("protocol", `A mask has ${mask.length} words where ${words} are expected`);
      masks.set(mask, row * words);
    });
    device.write(this.#parts.masks, 0, masks);
    device.run(this.#parts.mask, { rows: queries.length, first_token: this.#parts.firstToken });
  }

  /** Submits what is recorded and copies the logits of `rows` rows back: [rows, vocabulary]. */
  async logits(rows: number): Promise<Float32Array<ArrayBuffer>> {
    return await this.#readLogits(0, rows);
  }

  /** The logits of one recorded row: [vocabulary]. */
  async logitsRow(row: number): Promise<Float32Array<ArrayBuffer>> {
    return await this.#readLogits(row, 1);
  }

  #recordCandidates(rows: number, { count, draw }: Wanted): void {
    const { device } = this.#context;
    const { candidates, merge, firstToken, listReadback, lists } = this.#parts;
    device.run(candidates, { rows, count, draw: draw ? 1 : 0, first_token: firstToken });
    device.run(merge, { rows, count, first_token: firstToken });
    device.read(listReadback, lists, 0, rows * LIST_WORDS * 4);
  }

  async #readLogits(first: number, rows: number): Promise<Float32Array<ArrayBuffer>> {
    const { device, limits } = this.#context;
    const rowBytes = this.#parts.vocabulary * 4;
    this.#rowReadback ??= await device.createReadback("logits", limits.logitRows * rowBytes);
    device.read(this.#rowReadback, this.#parts.logits, first * rowBytes, rows * rowBytes);
    device.submit();
    return new Float32Array((await this.#rowReadback.take()).slice().buffer);
  }
}

/** Candidates of each row, and whether a token is drawn for some. */
interface Wanted {
  readonly count: number;
  readonly draw: boolean;
}

function plainOf(queries: readonly CandidatesQuery[]): Wanted {
  return { count: mostOf(queries, "plain"), draw: queries.some(({ draw, adjusted }) => draw && adjusted === 0) };
}

function adjustedOf(queries: readonly CandidatesQuery[]): Wanted {
  return { count: mostOf(queries, "adjusted"), draw: queries.some(({ draw, adjusted }) => draw && adjusted > 0) };
}

function mostOf(queries: readonly CandidatesQuery[], of: "plain" | "adjusted"): number {
  return queries.reduce((most, query) => Math.max(most, query[of]), 0);
}

/** The best `count` of a list that may hold more because another row wanted more. */
function firstOf(lists: readonly CandidateList[] | null, row: number, count: number): CandidateList | null {
  return count === 0 ? null : firstCandidates(lists![row], count);
}
