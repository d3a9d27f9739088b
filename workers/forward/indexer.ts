/**
 * What chooses the tokens that queries attend to, bound (sparse attention, DeepSeek-V3.2): index keys are cached beside latents, all that are before a query are scored,
 * and the best are what attention sees, in prefill as bits, in decode as latents that are copied next to each other.
 *
 * @module
 */
import { shortPositions } from "../../core/model/rope.ts";
import type { IndexerSpec } from "../../core/model/spec.ts";
import { chooseKept } from "../../kernels/choose_tokens/choose_kept.ts";
import { chooseTokens, choosingOn } from "../../kernels/choose_tokens/choose_tokens.ts";
import type { BoundKernel, Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { gatherTokens } from "../../kernels/gather_tokens/gather_tokens.ts";
import { indexKeys } from "../../kernels/index_keys/index_keys.ts";
import { indexScores } from "../../kernels/index_scores/index_scores.ts";
import { indexScoresMatrix, indexScoresRows, scoresOnUnits, sharesKeys } from "../../kernels/index_scores/matrix_units.ts";
import { mostRows } from "./activations.ts";
import type { CachedLayer, ModelContext, Step } from "./context.ts";
import { Linear } from "./linear.ts";
import type { Phase } from "./linear_binding.ts";
import { chosenRoom, scoredTokens } from "./sparse_activations.ts";
import type { IndexerWeights } from "./weights.ts";

/** Epsilon of the norm of index keys, whatever config.json says. */
const KEY_NORM_EPS = 1e-6;

/** Chooses for rows that see some number of tokens, the first or more and fewer than the second, and leaves others alone. */
interface Chooser {
  readonly contexts: readonly [least: number, end: number];
  readonly bound: BoundKernel<"rows" | "first_row">;
}

/** Whatever they see. */
const ALL = [0, 0xffffffff] as const;

/** Chooses, in one layer. */
export class Indexer {
  readonly #device: Device;
  readonly #spec: IndexerSpec;
  readonly #scoreRows: number;
  readonly #linears: readonly Linear[];
  readonly #store: BoundKernel<"rows">;
  readonly #score: Readonly<Record<Phase, BoundKernel<"rows" | "first_row" | "tokens">>>;
  readonly #choose: Readonly<Record<Phase, readonly Chooser[]>>;

  private constructor(
    { device, spec: { indexer }, activations: { sparse } }: ModelContext,
    bound: {
      readonly linears: readonly Linear[];
      readonly store: BoundKernel<"rows">;
      readonly score: Readonly<Record<Phase, BoundKernel<"rows" | "first_row" | "tokens">>>;
      readonly choose: Readonly<Record<Phase, readonly Chooser[]>>;
    },
  ) {
    this.#device = device;
    this.#spec = indexer!;
    this.#scoreRows = sparse!.scoreRows;
    this.#linears = bound.linears;
    this.#store = bound.store;
    this.#score = bound.score;
    this.#choose = bound.choose;
  }

  /** Compiles and binds. @param layer which layer it is; null where it chooses nothing */
  static async create(context: ModelContext, weights: IndexerWeights | null, layer: number): Promise<Indexer | null> {
    if (weights === null) return null;
    const { device, spec, activations: a, cache, limits, both } = context;
    const [indexer, sparse] = [spec.indexer!, a.sparse!];
    const { heads, topTokens, interleaved } = indexer;
    const { pages, config, slots, blockTokens } = cache.indexKeys.get(layer)!;
    const { tableWords, maxContext: positions } = cache;
    const rounded = (buffer: DeviceBuffer | null) => buffer === null ? {} : { prefill: buffer, decode: buffer };
    const ofHidden = { x: a.h, rounded: rounded(a.hRounded), most: both };
    const most = { rows: mostRows(limits) };
    const scored = { rows: sparse.scoreRows, first_row: most.rows - sparse.scoreRows };
    const scoring = { cache: config, slots, blockTokens, tableWords, heads, positions };
    const choosing = { positions, tableWords, topTokens, workgroup: choosingOn(device.limits) };
    const partsOf = (rows: number) => {
      const atOnce = Math.min(rows, sparse.scoreRows);
      return { rows: atOnce, first_row: rows - atOnce };
    };
    const chooses = { scores: sparse.scores, tables: cache.tables, step: a.step };
    const choose = async (
      gives: "slots" | "bits",
      to: { readonly chosen: DeviceBuffer; readonly stride: number },
      rows: number,
      contexts: Chooser["contexts"],
    ) => {
      const kernel = await device.compile(chooseTokens, { ...choosing, gives, stride: to.stride, contexts });
      return { contexts, bound: kernel.bind({ ...chooses, chosen: to.chosen }, partsOf(rows)) };
    };
    const chooseSlots = async (stride: number, rows: number): Promise<Chooser> => {
      if (context.sharing === null) return await choose("slots", { chosen: sparse.slots, stride }, rows, ALL);
      const kept = await device.compile(chooseKept, { ...choosing, tokens: cache.share, stride });
      return { contexts: ALL, bound: kept.bind({ ...chooses, chosen: sparse.slots, attended: a.attended }, partsOf(rows)) };
    };
    const choosePrefill = async (rows: number): Promise<Chooser[]> => {
      const bits = { chosen: sparse.bits, stride: sparse.bitWords };
      if (sparse.prefill === null) return [await choose("bits", bits, rows, ALL)];
      const { from } = context.sparseWay!;
      const { slots: chosen, stride } = sparse.prefill;
      return await Promise.all([choose("bits", bits, rows, [0, from]), choose("slots", { chosen, stride }, rows, [from, ALL[1]])]);
    };
    const bindScore = async (kernel: typeof indexScores) =>
      (await device.compile(kernel, scoring)).bind(
        { q: sparse.queries, weights: sparse.headWeights, cache: pages, tables: cache.tables, step: a.step, scores: sparse.scores },
        { ...scored, tokens: 2 * positions },
      );
    const units = context.matrixUnits && scoresOnUnits(scoring, device.limits.maxWorkgroupBytes);
    const shared = units && sharesKeys(scoring, device.limits.maxWorkgroupBytes);
    const [store, prefillScore, decodeScore, prefill, decode, ...linears] = await Promise.all([
      device.compile(indexKeys, {
        cache: config,
        slots,
        blockTokens,
        tableWords,
        heads,
        ropeWidth: spec.rope.width,
        interleaved,
        eps: KEY_NORM_EPS,
        positions,
        shortPositions: shortPositions(spec.rope),
      }),
      shared ? bindScore(indexScoresRows) : null,
      bindScore(units ? indexScoresMatrix : indexScores),
      choosePrefill(limits.prefillRows),
      chooseSlots(chosenRoom(indexer, positions), limits.decodeRows),
      Linear.create(context, weights.queryUp, { x: a.queryNormed, rounded: rounded(a.queryRounded), y: sparse.queries, most: both }),
      Linear.create(context, weights.key, { ...ofHidden, y: sparse.keys }),
      Linear.create(context, weights.headWeights, { ...ofHidden, y: sparse.headWeights, precise: "always" }),
    ]);
    const { keyGain: gain, keyBias: bias } = weights;
    return new Indexer(context, {
      linears,
      store: store.bind(
        { x: sparse.keys, gain, bias, step: a.step, table: context.ropeTable, q: sparse.queries, cache: pages, tables: cache.tables },
        most,
      ),
      score: { prefill: prefillScore ?? decodeScore, decode: decodeScore },
      choose: { prefill, decode: [decode] },
    });
  }

  /** Records that index keys of a step's rows are stored, and what its rows attend to is chosen. */
  record(step: Step): void {
    const device = this.#device;
    const { phase, rows: { length: rows } } = step;
    for (const linear of this.#linears) linear.run(phase, rows);
    device.run(this.#store, { rows });
    const tokens = scoredTokens(step, this.#spec);
    const atOnce = Math.min(this.#scoreRows, rows);
    for (let done = 0; done < rows; done += atOnce) {
      // All parts have as many rows, for which memory is there: the last one does some of the last but one's again.
      const part = { rows: atOnce, first_row: Math.min(done, rows - atOnce) };
      device.run(this.#score[phase], { ...part, tokens });
      // In prefill positions ascend.
      const [fewest, most] = [step.rows[part.first_row], step.rows[part.first_row + atOnce - 1]].map(({ position }) => position + 1);
      for (const { contexts: [least, end], bound } of this.#choose[phase]) {
        if (phase === "decode" || most >= least && fewest < end) device.run(bound, part);
      }
    }
  }
}

/** Copies the latents of a layer that a decode step's rows attend to next to each other; null where they attend to all of a sequence. */
export async function bindGather(context: ModelContext, { pages, cache: config }: CachedLayer): Promise<BoundKernel<"rows"> | null> {
  const { device, spec: { indexer }, activations: { sparse, attended: step }, cache, limits } = context;
  if (indexer === null || sparse === null) return null;
  const gather = await device.compile(gatherTokens, { cache: config, slots: cache.slots, stride: chosenRoom(indexer, cache.maxContext) });
  return gather.bind({ cache: pages, chosen: sparse.slots, step, out: sparse.latents }, { rows: limits.decodeRows });
}
