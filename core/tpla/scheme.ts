/**
 * How a decode group attends, as users choose it, and what follows from that.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { BasisKind, FixedBasisKind } from "./layer_basis.ts";
import type { ChosenWidths } from "./chosen_widths.ts";
import { defaultHalo, type PartitionOptions } from "./partition.ts";

/**
 * `tpla` shards the latent by its width; `mla` splits heads, keeps whole latents on every rank, and is exact; `dcp` shards latents by tokens, and is exact as well
 * (decode context parallelism).
 */
export type AttentionMode = typeof ATTENTION_MODES[number];

/** All of them. */
export const ATTENTION_MODES = ["tpla", "mla", "dcp"] as const;

/** The choices. */
export interface Scheme {
  readonly attention: AttentionMode;
  /** k */
  readonly ranks: number;
  /** g; by default the ranks for `tpla`, and 1 for others. With `dcp`, the ranks of each latent group share its latents by tokens; more than one drift as `tpla` does. */
  readonly latentGroups?: number;
  /** r; by default what a calibration has chosen by measurement, layer by layer, or else an eighth of the latent. */
  readonly halo?: number;
  readonly basis: BasisKind;
  readonly lambda: number;
  /** μ: what the latent part of scores is multiplied by; 1 is exact where keys are whole. */
  readonly mu: number;
  /** The TPLA paper's scheme, for comparison: PCA, norms over slices, no halo. */
  readonly paper: boolean;
  /** Whether ranks share feed-forward blocks, the default, or each has them whole. */
  readonly feedForward?: "sharded" | "replicated";
}

/** The defaults, apart from the number of ranks. */
export const SCHEME_DEFAULTS = { attention: "tpla", basis: "balanced", lambda: 0.05, mu: 1, paper: false } as const satisfies Partial<Scheme>;

/**
 * How the ranks cut the model.
 *
 * @param chosen what the model's calibration has chosen, which the default basis and halo stand for where there is something for as many latent groups
 * @throws {LatentmeshError} `invalid_config` if the choices contradict each other
 */
export function resolveCut(spec: ModelSpec, scheme: Scheme, chosen: readonly ChosenWidths[] = []): PartitionOptions {
  const { attention, ranks, latentGroups, halo, paper, feedForward = "sharded" } = scheme;
  const refuse = (param: string, message: string): never => {
    throw new LatentmeshError("invalid_config", message, { param });
  };
  if (attention === "tpla") {
    if (paper && (halo ?? 0) !== 0) refuse("decode.halo", `halo is ${halo}, but the paper's scheme has none; leave halo out or paper`);
    const groups = latentGroups ?? ranks;
    return {
      ranks,
      latentGroups: groups,
      halo: halo ?? (paper ? 0 : defaultHalo(spec.latentWidth)),
      ...widthsFor(groups, scheme, chosen),
      feedForward,
    };
  }
  if (paper) refuse("decode.paper", `paper is about attention "tpla", and attention is "${attention}"`);
  if (attention === "dcp") {
    const groups = latentGroups ?? 1;
    if (ranks % groups !== 0) refuse("decode.latentGroups", `latentGroups is ${groups}, which does not divide ${ranks} ranks`);
    if (ranks === groups) {
      refuse("decode.attention", 'attention "dcp" shares latents by tokens among the ranks of a latent group, which has one each; take "tpla"');
    }
    const columns = groups === 1 ? 0 : halo ?? defaultHalo(spec.latentWidth);
    return { ranks, latentGroups: groups, halo: columns, ...widthsFor(groups, scheme, chosen), tokenShares: ranks / groups, feedForward };
  }
  if ((latentGroups ?? 1) !== 1) {
    refuse("decode.latentGroups", `latentGroups is ${latentGroups}, but attention "mla" keeps whole latents on every rank (latentGroups 1)`);
  }
  return { ranks, latentGroups: 1, halo: 0, feedForward };
}

/** What was chosen, unless something else is asked for than it was measured with. */
function widthsFor(
  groups: number,
  { halo, paper, basis, lambda }: Scheme,
  chosen: readonly ChosenWidths[],
): Pick<PartitionOptions, "widths"> {
  const { basis: measuredBasis, lambda: measuredLambda } = SCHEME_DEFAULTS;
  if (halo !== undefined || paper || basis !== measuredBasis || lambda !== measuredLambda) return {};
  const found = chosen.find(({ latentGroups }) => latentGroups === groups);
  return found === undefined ? {} : { widths: found.widths };
}

/** Whether latents are cut by their width, so that their directions are not all alike. */
export function cutsLatents({ attention, latentGroups = 1 }: Pick<Scheme, "attention" | "latentGroups">): boolean {
  return attention === "tpla" || attention === "dcp" && latentGroups > 1;
}

/** The basis of the latent; null leaves it as it is. */
export function resolveBasis(
  { attention, latentGroups, basis, lambda, paper }: Scheme,
): { readonly kind: BasisKind; readonly lambda: number } | null {
  if (!cutsLatents({ attention, latentGroups })) return null;
  return { kind: paper ? "pca" : basis, lambda };
}

/** Whether a basis needs a calibration. */
export function needsCalibration(kind: BasisKind): kind is Exclude<BasisKind, FixedBasisKind> {
  return kind === "pca" || kind === "balanced";
}
