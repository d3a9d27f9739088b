/**
 * How a decode group attends, as users choose it, and what follows from that.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { BasisKind } from "./basis.ts";
import { defaultHalo, type PartitionOptions } from "./partition.ts";

/** The choices. */
export interface Scheme {
  /** `tpla` shards the latent; `mla` splits heads, keeps whole latents on every rank, and is exact. */
  readonly attention: "tpla" | "mla";
  /** k */
  readonly ranks: number;
  /** g; by default the ranks for `tpla`, and 1 for `mla`. */
  readonly latentGroups?: number;
  /** r; an eighth of the latent by default. */
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
 * @throws {LatentmeshError} `invalid_config` if the choices contradict each other
 */
export function resolveCut(spec: ModelSpec, { attention, ranks, latentGroups, halo, paper, feedForward = "sharded" }: Scheme): PartitionOptions {
  const refuse = (param: string, message: string): never => {
    throw new LatentmeshError("invalid_config", message, { param });
  };
  if (attention === "tpla") {
    if (paper && (halo ?? 0) !== 0) refuse("decode.halo", `halo is ${halo}, but the paper's scheme has none; leave halo out or paper`);
    return { ranks, latentGroups: latentGroups ?? ranks, halo: halo ?? (paper ? 0 : defaultHalo(spec.latentWidth)), feedForward };
  }
  if (paper) refuse("decode.paper", 'paper is about attention "tpla"; attention "mla" is exact');
  if ((latentGroups ?? 1) !== 1) {
    refuse("decode.latentGroups", `latentGroups is ${latentGroups}, but attention "mla" keeps whole latents on every rank (latentGroups 1)`);
  }
  return { ranks, latentGroups: 1, halo: 0, feedForward };
}

/** The basis of the latent; null leaves it as it is. */
export function resolveBasis({ attention, basis, lambda, paper }: Scheme): { readonly kind: BasisKind; readonly lambda: number } | null {
  if (attention === "mla") return null;
  return { kind: paper ? "pca" : basis, lambda };
}
