/**
 * How many directions of its latent every layer keeps on each rank of a group, chosen by what is measured: for each layer and width the drift of a model that is exact
 * but for that layer, then the widths that lose least within a budget, then all of it together, on other texts, against one width and one halo for all layers.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { allocateWidths, type WidthLoss } from "../../core/tpla/allocate_widths.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import type { MeasuredWidths, WidthBudget } from "../../core/tpla/chosen_widths.ts";
import { blockOf, possibleWidths } from "../../core/tpla/latent_columns.ts";
import type { PartitionOptions } from "../../core/tpla/partition.ts";
import { type DriftDocument, type DriftRunOptions, runDrift } from "./drift_run.ts";

/** Options of {@link chooseWidths}. */
export interface ChooseWidthsOptions extends Pick<DriftRunOptions, "checkpoint" | "spec" | "device" | "dawn"> {
  readonly bases: NonNullable<DriftRunOptions["bases"]>;
  /** Texts of the calibration, from BOS. */
  readonly sequences: readonly (readonly number[])[];
  readonly budgets: readonly WidthBudget[];
  /** Told of each measurement, of as many as there may be. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
}

/** Tokens of a document at most, of which half are a prompt; and of all documents that a layer, or a whole cut, is measured with. */
const DOCUMENT_TOKENS = 1024;
const LAYER_TOKENS = 4096;
const CUT_TOKENS = 8192;
/** Widths of a layer that are measured at most. */
const MOST_WIDTHS = 12;
/** Nats that are none: wider layers are not measured. */
const NOTHING = 1e-6;
const TOO_FEW = 64;

/**
 * Chooses for each budget. Nothing is chosen where one halo for all layers turns out to be better.
 *
 * @throws {LatentmeshError} `invalid_config` if a budget is less than groups need to have the whole latent between them, or texts are too short
 */
export async function chooseWidths(options: ChooseWidthsOptions): Promise<MeasuredWidths[]> {
  const { spec, budgets, sequences, onProgress } = options;
  const documents = sequences.filter(({ length }) => length >= TOO_FEW);
  if (documents.length < 2) {
    const problem = `Cannot choose widths by measurement: that takes two documents of ${TOO_FEW} tokens, and there are ${documents.length}`;
    throw new LatentmeshError("invalid_config", problem, { param: "text" });
  }
  const ofLayers = documentsOf(documents.filter((_, i) => i % 2 === 0), LAYER_TOKENS);
  const ofCuts = documentsOf(documents.filter((_, i) => i % 2 === 1), CUT_TOKENS);
  const planned = budgets.map((budget) => ({ ...budget, candidates: candidatesOf(options, budget) }));
  const total = planned.reduce((sum, { candidates }) => sum + spec.layers * (candidates.length - 1) + 3, 0);
  let done = 0;
  const measure = async (cut: Cut, documents: readonly DriftDocument[]) => {
    const whole = { ranks: cut.latentGroups, halo: 0, ...cut };
    const { divergence } = await runDrift({ ...options, cut: whole, documents, mu: 1, paper: false, onProgress: undefined });
    onProgress?.({ done: ++done, total });
    return divergence.kl;
  };
  const chosen: MeasuredWidths[] = [];
  for (const { latentGroups, values, candidates } of planned) {
    const layers: WidthLoss[][] = [];
    for (let layer = 0; layer < spec.layers; layer++) {
      const losses: WidthLoss[] = [];
      for (const width of candidates) {
        const isNothing = width === spec.latentWidth || (losses.at(-1)?.loss ?? Infinity) < NOTHING;
        const widths = Array.from({ length: spec.layers }, (_, other) => other === layer ? width : spec.latentWidth);
        losses.push({ width, loss: isNothing ? 0 : await measure({ latentGroups, widths }, ofLayers) });
        if (isNothing && width < spec.latentWidth) done++;
      }
      layers.push(losses);
    }
    const most = values - spec.rope.width;
    const widths = allocateWidths(layers, Math.floor(most * spec.layers))!;
    const narrowest = Array<number>(spec.layers).fill(candidates.findLast((width) => width <= most)!);
    const halo = most - blockOf(spec.latentWidth, latentGroups, 0).end;
    const kl = await measure({ latentGroups, widths }, ofCuts);
    const equal = await measure({ latentGroups, widths: narrowest }, ofCuts);
    const uniformKl = Math.min(equal, await measure({ latentGroups, halo: Math.floor(halo) }, ofCuts));
    if (kl <= uniformKl) chosen.push({ latentGroups, widths, kl, uniformKl });
    else if (equal <= uniformKl) chosen.push({ latentGroups, widths: narrowest, kl: equal, uniformKl });
  }
  return chosen;
}

type Cut = Pick<PartitionOptions, "latentGroups"> & Partial<Pick<PartitionOptions, "widths" | "halo">>;

/** @throws {LatentmeshError} `invalid_config` if a budget is not possible, before anything is computed */
export function checkBudgets(spec: ModelSpec, budgets: readonly WidthBudget[]): void {
  for (const budget of budgets) candidatesOf({ spec }, budget);
}

/** Widths that a layer may have, ascending to the whole latent. */
function candidatesOf({ spec: { latentWidth, rope } }: Pick<ChooseWidthsOptions, "spec">, { latentGroups, values }: WidthBudget): number[] {
  const possible = possibleWidths(latentWidth, latentGroups);
  const least = possible[0] + rope.width;
  if (values < least || values > latentWidth + rope.width) {
    throw new LatentmeshError(
      "invalid_config",
      `A budget of ${values} values is not possible for ${latentGroups} latent groups: it must be ${least} … ${latentWidth + rope.width}`,
      { param: "budget" },
    );
  }
  const every = Math.ceil(possible.length / MOST_WIDTHS);
  // Those that are left out are between others: the narrowest and the whole latent are among them.
  return possible.filter((width, i) => i % every === 0 || width === latentWidth);
}

/** Beginnings of documents, each from its beginning, with so many tokens in all. */
function documentsOf(sequences: readonly (readonly number[])[], most: number): DriftDocument[] {
  const documents: DriftDocument[] = [];
  let left = most;
  for (const sequence of sequences) {
    const tokens = sequence.slice(0, Math.min(DOCUMENT_TOKENS, left));
    if (tokens.length < TOO_FEW) break;
    documents.push({ tokens, prefix: Math.floor(tokens.length / 2) });
    left -= tokens.length;
  }
  return documents;
}
